//! Officers log in at the real appliance: a password that it never sees, an authenticator, one-time codes. Everything is tried
//! that must not open a session, or keep one open, and afterwards the log has to have it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "test code"
)]

mod appliance;
mod passkey;
mod people;

use std::time::Duration;

use appliance::{Answer, Appliance, Peer, finish};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chancery_audit::{Folder, LoginEvent, Record, Start, Stream};
use chancery_identity::login::{Agreed, Code, Enrolling, Entering, TotpSecret};
use passkey::Passkey;
use people::{Person, bundle, now};
use serde_json::{Value, json};

const PASSWORD: &[u8] = b"correct horse battery staple";

/// A running appliance that asks officers and auditors for sessions, with these people in its bundle.
async fn open(people: &[Person], session_s: u32) -> Option<Appliance> {
    let mut appliance = Appliance::prepare()?;
    let officers = format!(
        "officers = {{ require_session = [\"officer\", \"auditor\"], session_s = {session_s} }}\nrate ="
    );
    appliance.reconfigure("rate =", &officers);
    appliance.start();
    appliance.furnish("treasury", &bundle(people)).await;
    Some(appliance)
}

fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn decoded(body: &Value, name: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(body[name].as_str().unwrap_or_else(|| panic!("{name} of {body}"))).unwrap()
}

/// Takes both steps of an enrolment; what the first or the second is refused with.
async fn enrol(peer: &Peer, code: &Code, password: &[u8]) -> Answer {
    let (enrolling, request) = Enrolling::begin(password).unwrap();
    let body = json!({ "code": *code.text(), "request": text(&request) });
    let answer = peer.post("/v1/login/enrolment", &body, None).await;
    if answer.status != 200 {
        return answer;
    }
    let record = enrolling.finish(password, &decoded(&answer.body, "response")).unwrap();
    let body = json!({ "code": *code.text(), "record": text(&record) });
    peer.post("/v1/login/enrolment/record", &body, None).await
}

/// A login after its password.
struct Proven {
    login: String,
    id: [u8; 16],
    ke3: Value,
    agreed: Agreed,
    body: Value,
}

async fn begin(peer: &Peer, password: &[u8]) -> (Entering, Answer) {
    let (entering, ke1) = Entering::begin(password).unwrap();
    (entering, peer.post("/v1/login", &json!({ "ke1": text(&ke1) }), None).await)
}

/// The same, waiting as long as it is told to.
async fn admitted(peer: &Peer, password: &[u8]) -> (Entering, Answer) {
    loop {
        let (entering, answer) = begin(peer, password).await;
        let Some(seconds) = answer.retry_after else { return (entering, answer) };
        refused(&answer, 429, "login-locked");
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }
}

async fn prove(peer: &Peer, password: &[u8]) -> Proven {
    let (entering, answer) = admitted(peer, password).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let login = answer.body["login"].as_str().unwrap().to_owned();
    let (ke3, agreed) = entering.finish(password, &decoded(&answer.body, "ke2")).expect("the right password");
    let ke3 = json!({ "ke3": text(&ke3) });
    let answer = peer.post(&format!("/v1/login/{login}/password"), &ke3, None).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let id = *login.parse::<chancery_core::RequestId>().unwrap().as_bytes();
    Proven { login, id, ke3, agreed, body: answer.body }
}

impl Proven {
    /// The secret of the one-time codes, as it is told before one was used.
    fn secret(&self) -> TotpSecret {
        let veiled = TotpSecret::new(decoded(&self.body, "totp").into()).unwrap();
        self.agreed.veil(&self.id, &veiled).unwrap()
    }

    async fn factor(&self, peer: &Peer, factor: &Value) -> Answer {
        peer.post(&format!("/v1/login/{}/factor", self.login), factor, None).await
    }

    fn assertion(&self, passkey: &Passkey) -> Value {
        json!({ "assertion": passkey.assert(&self.agreed.challenge(&self.id).unwrap()) })
    }

    fn token(&self) -> String {
        self.agreed.token(&self.id).unwrap().text().to_string()
    }
}

/// A first login, which is unusual by itself: both factors. Answers the token and the secret of the codes.
async fn first_login(peer: &Peer, person: &Person) -> (String, TotpSecret) {
    let proven = prove(peer, PASSWORD).await;
    let secret = proven.secret();
    let both = json!({
        "assertion": proven.assertion(&person.passkey)["assertion"],
        "totp": secret.code(now()).unwrap(),
    });
    let opened = proven.factor(peer, &both).await;
    assert_eq!((opened.status, &opened.body["state"]), (200, &json!("open")), "{opened:?}");
    (proven.token(), secret)
}

/// A login with the authenticator alone.
async fn login(peer: &Peer, person: &Person) -> String {
    let proven = prove(peer, PASSWORD).await;
    let opened = proven.factor(peer, &proven.assertion(&person.passkey)).await;
    assert_eq!((opened.status, &opened.body["state"]), (200, &json!("open")), "{opened:?}");
    proven.token()
}

async fn get(peer: &Peer, path: &str, token: &str) -> Answer {
    finish(peer.client.get(format!("{}{path}", peer.base)).bearer_auth(token)).await
}

async fn delete(peer: &Peer, path: &str, token: &str) -> Answer {
    finish(peer.client.delete(format!("{}{path}", peer.base)).bearer_auth(token)).await
}

#[track_caller]
fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code()), (status, code), "{answer:?}");
}

/// What the log has of somebody, once the appliance has stopped, and that all of it verifies.
async fn events(appliance: &mut Appliance, who: &str) -> Vec<LoginEvent> {
    let trust = appliance.trust().await;
    assert!(appliance.stop().success());
    let report =
        chancery_audit::verify_log(&Folder::at(&appliance.at("log")), &trust, Start::Afresh, &mut |_| Ok(()))
            .unwrap();
    let mut found = Vec::new();
    let mut entries = 0;
    let tiles = appliance.at("log").join("tile/entries");
    for number in 0..report.checkpoint.size().div_ceil(256) {
        let width = (report.checkpoint.size() - number * 256).min(256);
        let partial = tiles.join(format!("{number:03}.p/{width}"));
        let bytes =
            std::fs::read(&partial).or_else(|_| std::fs::read(tiles.join(format!("{number:03}")))).unwrap();
        let mut rest = &bytes[..];
        while let [high, low, tail @ ..] = rest {
            let (body, tail) = tail.split_at(usize::from(u16::from_be_bytes([*high, *low])));
            rest = tail;
            let record = Record::parse(body).unwrap();
            if record.stream() == Stream::Security {
                entries += 1;
            }
            if let Record::Login(login) = record
                && login.officer.as_str() == who
            {
                let text = String::from_utf8(body.to_vec()).unwrap();
                assert!(!text.contains("127.0.0"), "an entry holds from where somebody came: {text}");
                found.push(login.event);
            }
        }
    }
    assert_eq!(report.counts.logins, entries);
    found
}

/// Would catch a session without one of its factors, a message that is taken twice, and a token that is good elsewhere.
#[tokio::test]
async fn an_officer_logs_in_and_nobody_else_does() {
    let people = [Person::new("ann", "approver"), Person::new("bob", "approver")];
    let [ann, bob] = &people;
    let Some(mut appliance) = open(&people, 900).await else { return };
    let [a, b] = [ann, bob].map(|person| appliance.peer("officer", person.name));
    refused(&a.get("/v1/approvals").await, 401, "session-required");
    refused(&get(&a, "/v1/approvals", "AAAA").await, 401, "session-required");
    assert_eq!(a.get("/v1/trust").await.status, 200, "what a stranger may read asks for no session");
    for role in ["client", "operator"] {
        refused(&begin(&appliance.peer(role, "ann"), PASSWORD).await.1, 403, "forbidden");
    }

    assert_eq!(enrol(&a, &ann.code, PASSWORD).await.status, 204);
    assert_eq!(enrol(&b, &bob.code, PASSWORD).await.status, 204);

    // The first login is from a new device and a new network: neither factor is enough alone.
    let proven = prove(&a, PASSWORD).await;
    let secret = proven.secret();
    let code = secret.code(now()).unwrap();
    let more = proven.factor(&a, &proven.assertion(&ann.passkey)).await;
    assert_eq!(
        (more.status, &more.body),
        (200, &json!({ "state": "more", "needs": "totp", "because": ["new-device", "new-network"] })),
        "{more:?}"
    );
    refused(&get(&a, "/v1/approvals", &proven.token()).await, 401, "session-required");
    let opened = proven.factor(&a, &json!({ "totp": code })).await;
    assert_eq!((&opened.body["state"], &opened.body["roles"]), (&json!("open"), &json!(["approver"])));
    assert_eq!(get(&a, "/v1/approvals", &proven.token()).await.status, 200);
    refused(&get(&b, "/v1/approvals", &proven.token()).await, 401, "session-required");
    refused(&get(&a, "/v1/approvals", &proven.token()).await, 401, "session-required");

    // From then on it is not; the secret of the codes is not told again.
    let proven = prove(&a, PASSWORD).await;
    assert_eq!(proven.body.get("totp"), None, "{}", proven.body);
    let assertion = proven.assertion(&ann.passkey);
    assert_eq!(proven.factor(&a, &assertion).await.body["state"], "open");
    let token = proven.token();

    // Every message again, and in another login.
    refused(&proven.factor(&a, &assertion).await, 401, "login-failed");
    let again = a.post(&format!("/v1/login/{}/password", proven.login), &proven.ke3, None).await;
    refused(&again, 401, "login-failed");
    refused(&prove(&a, PASSWORD).await.factor(&a, &assertion).await, 401, "login-failed");
    let (_, other) = admitted(&a, PASSWORD).await;
    let path = format!("/v1/login/{}/password", other.body["login"].as_str().unwrap());
    refused(&a.post(&path, &proven.ke3, None).await, 401, "login-failed");

    // A code that was used, another's assertion, the same person with another certificate, nothing at all.
    let proven = prove(&a, PASSWORD).await;
    refused(&proven.factor(&a, &json!({ "totp": code })).await, 401, "login-failed");
    let proven = prove(&a, PASSWORD).await;
    refused(&proven.factor(&a, &proven.assertion(&bob.passkey)).await, 401, "login-failed");
    login(&a, ann).await;
    let twin = appliance.peer("officer", "ann");
    let proven = prove(&a, PASSWORD).await;
    refused(&proven.factor(&twin, &proven.assertion(&ann.passkey)).await, 401, "login-failed");
    refused(&prove(&a, PASSWORD).await.factor(&a, &json!({})).await, 401, "login-failed");

    // A code of the next step is fresh, and enough from a known network.
    let proven = prove(&a, PASSWORD).await;
    let next = secret.code(now().plus_ms(30_000)).unwrap();
    assert_eq!(proven.factor(&a, &json!({ "totp": next })).await.body["state"], "open");
    assert_eq!(get(&a, "/v1/approvals", &token).await.status, 200, "the session before goes on");

    use LoginEvent::{Begun, Enrolled, FactorRefused, Opened, PasswordRefused, SteppedUp, Stolen};
    let found = events(&mut appliance, "ann").await;
    let expected = [
        &[Enrolled, Begun, SteppedUp, Opened, Stolen, Begun, Opened][..],
        &[Begun, FactorRefused, Begun, PasswordRefused, Begun, FactorRefused, Begun, FactorRefused],
        &[Begun, Opened, Begun, Begun, FactorRefused, Begun, Opened],
    ]
    .concat();
    let found: Vec<_> = found.into_iter().filter(|event| *event != LoginEvent::TurnedAway).collect();
    assert_eq!(found, expected);
}

/// Would catch an answer by which somebody learns who is an officer, or has enrolled: the same status, code and size at every
/// step, and the same waits.
#[tokio::test]
async fn whoever_is_not_known_is_told_the_same() {
    let people =
        [Person::new("ann", "approver"), Person::new("bob", "approver"), Person::new("aud", "auditor")];
    let Some(appliance) = open(&people, 900).await else { return };
    let ann = appliance.peer("officer", "ann");
    assert_eq!(enrol(&ann, &people[0].code, PASSWORD).await.status, 204);
    first_login(&ann, &people[0]).await;
    // Bob has not enrolled, nobody knows zoe, and aud's certificate should be an auditor's.
    let others = ["bob", "zoe", "aud"].map(|name| appliance.peer("officer", name));
    let mut told = Vec::new();
    for peer in [&ann].into_iter().chain(&others) {
        let mut shapes = Vec::new();
        for _ in 0..6 {
            let (entering, ke1) = Entering::begin(b"another password").unwrap();
            let asked =
                peer.client.post(format!("{}/v1/login", peer.base)).json(&json!({ "ke1": text(&ke1) }));
            let answer = asked.send().await.unwrap();
            let (status, length) = (answer.status().as_u16(), answer.content_length());
            let body: Value = answer.json().await.unwrap();
            shapes.push((status, length, body["code"].as_str().unwrap_or_default().to_owned()));
            if status != 200 {
                continue;
            }
            let refusal = entering.finish(b"another password", &decoded(&body, "ke2")).err().unwrap();
            assert_eq!(refusal.to_string(), "the password, or who answers, is another");
            let path = format!("/v1/login/{}/password", body["login"].as_str().unwrap());
            let answer = peer.post(&path, &json!({ "ke3": text(&[7; 64]) }), None).await;
            refused(&answer, 401, "login-failed");
            shapes.push((
                answer.status,
                Some(answer.body.to_string().len() as u64),
                answer.code().to_owned(),
            ));
        }
        assert_eq!(shapes.last().unwrap().2, "login-locked", "{shapes:?}");
        told.push(shapes);
    }
    for other in &told[1..] {
        assert_eq!(*other, told[0]);
    }
    let code = Code::fresh().unwrap();
    for name in ["bob", "yan"] {
        let peer = appliance.peer("auditor", name);
        refused(&enrol(&peer, &code, PASSWORD).await, 403, "enrolment-refused");
    }
}

/// Would catch tries that cost nothing, a wait that a restart takes back or that hits somebody else, and one that never ends.
#[tokio::test]
async fn tries_make_wait_and_a_login_ends_that() {
    let people = [Person::new("ann", "approver"), Person::new("bob", "approver")];
    let Some(mut appliance) = open(&people, 900).await else { return };
    let [mut a, b] = ["ann", "bob"].map(|name| appliance.peer("officer", name));
    assert_eq!(enrol(&a, &people[0].code, PASSWORD).await.status, 204);
    // The last messages are never sent: who has the answer knows already whether the password was right.
    for _ in 0..5 {
        assert_eq!(begin(&a, b"a wrong password").await.1.status, 200);
    }
    for _ in 0..2 {
        let locked = begin(&a, PASSWORD).await.1;
        refused(&locked, 429, "login-locked");
        assert_eq!(locked.retry_after, Some(1));
    }
    assert_eq!(begin(&b, PASSWORD).await.1.status, 200, "somebody else's tries");
    assert_eq!(admitted(&a, b"a wrong password").await.1.status, 200, "a wait has an end");
    appliance.stop();
    appliance.start();
    a = appliance.peer("officer", "ann");
    // Whatever is left of two seconds, then four: what a store forgot would begin with nothing.
    assert_eq!(admitted(&a, b"a wrong password").await.1.status, 200);
    let longer = begin(&a, PASSWORD).await.1;
    refused(&longer, 429, "login-locked");
    assert!(longer.retry_after.is_some_and(|seconds| (3..=4).contains(&seconds)), "{longer:?}");
    first_login(&a, &people[0]).await;
    for _ in 0..4 {
        assert_eq!(begin(&a, PASSWORD).await.1.status, 200, "a login takes the tries back");
    }
    let turned_away = events(&mut appliance, "ann").await;
    let turned_away = turned_away.iter().filter(|event| **event == LoginEvent::TurnedAway).count();
    assert!((2..=4).contains(&turned_away), "once for each wait, not for each try: {turned_away}");
}

/// Would catch a code that is good for somebody else, too late, twice, or under a bundle that no longer names it; and a session
/// or password that outlives the quorum's word.
#[tokio::test]
async fn what_the_bundle_says_holds_at_once() {
    let mut people = [
        Person::new("ann", "approver"),
        Person::new("adm", "administrator"),
        Person::new("aud", "auditor"),
        Person { until: "2020-01-01T00:00:00Z", ..Person::new("old", "approver") },
    ];
    let Some(mut appliance) = open(&people, 900).await else { return };
    let operator = appliance.peer("operator", "op");
    let [a, adm, old] = ["ann", "adm", "old"].map(|name| appliance.peer("officer", name));
    let aud = appliance.peer("auditor", "aud");
    refused(&enrol(&a, &people[1].code, PASSWORD).await, 403, "enrolment-refused");
    refused(&enrol(&old, &people[3].code, PASSWORD).await, 403, "enrolment-refused");
    for (peer, person) in [(&a, &people[0]), (&adm, &people[1]), (&aud, &people[2])] {
        assert_eq!(enrol(peer, &person.code, PASSWORD).await.status, 204);
        refused(&enrol(peer, &person.code, b"another password").await, 403, "enrolment-refused");
    }
    let (anns, adms) = (first_login(&a, &people[0]).await.0, first_login(&adm, &people[1]).await.0);
    let auds = first_login(&aud, &people[2]).await.0;
    assert_eq!(get(&aud, "/v1/audit/decisions", &auds).await.status, 200);

    // Each sees one's own sessions, the administrator everybody's, and ends them.
    let owners = |answer: Answer| {
        let rows = answer.body["sessions"].as_array().unwrap().clone();
        rows.iter().map(|row| row["officer"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(owners(get(&a, "/v1/sessions", &anns).await), ["ann"]);
    let all = get(&adm, "/v1/sessions", &adms).await;
    let id = |name: &str| {
        let row = all.body["sessions"].as_array().unwrap().iter().find(|row| row["officer"] == name).unwrap();
        row["session"].as_str().unwrap().to_owned()
    };
    let [of_ann, of_adm] = ["ann", "adm"].map(id);
    assert_eq!(owners(get(&adm, "/v1/sessions", &adms).await), ["adm", "ann", "aud"]);
    refused(&delete(&a, &format!("/v1/sessions/{of_adm}"), &anns).await, 404, "not-found");
    assert_eq!(delete(&adm, &format!("/v1/sessions/{of_ann}"), &adms).await.status, 204);
    refused(&get(&a, "/v1/approvals", &anns).await, 401, "session-required");
    let anns = login(&a, &people[0]).await;

    // A new code takes password and sessions away; the old bundle again does not make its code good.
    let before = bundle(&people);
    people[0].code = Code::fresh().unwrap();
    assert_eq!(operator.apply(&bundle(&people)).await.status, 200);
    refused(&get(&a, "/v1/approvals", &anns).await, 401, "session-required");
    let (entering, answer) = admitted(&a, PASSWORD).await;
    assert!(entering.finish(PASSWORD, &decoded(&answer.body, "ke2")).is_err(), "the password before");
    assert_eq!(enrol(&a, &people[0].code, PASSWORD).await.status, 204);
    let anns = first_login(&a, &people[0]).await.0;
    assert_eq!(operator.apply(&before).await.status, 200);
    refused(&get(&a, "/v1/approvals", &anns).await, 401, "session-required");
    assert_eq!(operator.apply(&bundle(&people)).await.status, 200);
    assert_eq!(get(&a, "/v1/approvals", &anns).await.status, 200, "the bundle names it again");

    // Who is taken out of the bundle is out.
    assert_eq!(operator.apply(&bundle(&people[1..])).await.status, 200);
    refused(&get(&a, "/v1/approvals", &anns).await, 401, "session-required");
    let (entering, answer) = admitted(&a, PASSWORD).await;
    assert!(entering.finish(PASSWORD, &decoded(&answer.body, "ke2")).is_err(), "nobody of that name");

    let found = events(&mut appliance, "ann").await;
    let count = |event| found.iter().filter(|found| **found == event).count();
    assert_eq!((count(LoginEvent::Enrolled), count(LoginEvent::EnrolmentRefused)), (2, 2), "{found:?}");
    assert_eq!((count(LoginEvent::Revoked), count(LoginEvent::Opened)), (1, 3), "{found:?}");
}

/// Would catch a session that does not end by itself.
#[tokio::test]
async fn a_session_ends_with_its_time() {
    let people = [Person::new("ann", "approver")];
    let Some(appliance) = open(&people, 3).await else { return };
    let a = appliance.peer("officer", "ann");
    assert_eq!(enrol(&a, &people[0].code, PASSWORD).await.status, 204);
    let token = first_login(&a, &people[0]).await.0;
    assert_eq!(get(&a, "/v1/approvals", &token).await.status, 200);
    tokio::time::sleep(Duration::from_secs(4)).await;
    refused(&get(&a, "/v1/approvals", &token).await, 401, "session-required");
    refused(&get(&a, "/v1/sessions", &token).await, 401, "session-required");
}

/// Would catch a stream that goes on telling whoever is no longer in session.
#[tokio::test]
async fn a_stream_ends_with_its_session() {
    let people = [Person::new("ann", "approver")];
    let Some(appliance) = open(&people, 60).await else { return };
    let a = appliance.peer("officer", "ann");
    assert_eq!(enrol(&a, &people[0].code, PASSWORD).await.status, 204);
    let token = first_login(&a, &people[0]).await.0;
    let open = get(&a, "/v1/sessions", &token).await;
    let id = open.body["sessions"][0]["session"].as_str().unwrap().to_owned();
    let request = a.client.get(format!("{}/v1/events", a.base)).header("accept", "text/event-stream");
    let mut stream = request.bearer_auth(&token).send().await.unwrap();
    assert_eq!(stream.status(), 200);
    assert!(stream.chunk().await.unwrap().is_some(), "it lives");
    assert_eq!(delete(&a, &format!("/v1/sessions/{id}"), &token).await.status, 204);
    let end = async { while let Ok(Some(_)) = stream.chunk().await {} };
    tokio::time::timeout(Duration::from_secs(5), end).await.expect("the stream went on after its session");
}
