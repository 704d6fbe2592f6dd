//! An error in one line.

use std::error::Error;

/// The error and its causes, `outer: inner`. A cause that its effect already ends with is said once.
pub fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Fault {
        #[error("the door is shut")]
        Shut(#[source] std::io::Error),
        #[error("no start: {0}")]
        Start(#[source] Box<Fault>),
    }

    /// Would catch a cause that is left out, and one that is said twice.
    #[test]
    fn each_cause_is_said_once() {
        let shut = Fault::Shut(std::io::Error::other("inner"));
        assert_eq!(causes(&Fault::Start(Box::new(shut))), "no start: the door is shut: inner");
    }
}
