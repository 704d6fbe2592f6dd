//! The page that other implementers read shows the bytes that are verified here.

#[path = "../examples/request_signature.rs"]
mod request_signature;

/// Would catch a page whose example no appliance takes.
#[test]
fn the_page_shows_what_the_example_prints() {
    let page = include_str!("../../docs/api.md");
    let text = request_signature::text();
    assert!(page.contains(&text), "docs/api.md lacks this, as it is:\n{text}");
}
