//! Tests of the monitor protocol against a made-up QEMU that may behave as badly as it likes.

use tokio::io::{Lines, split};

use super::*;

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(100);
const GREETING: &str =
    r#"{"QMP": {"version": {"qemu": {"micro": 2, "minor": 0, "major": 10}}, "capabilities": []}}"#;

/// The other end of the line.
struct Fake {
    read: Lines<BufReader<tokio::io::ReadHalf<UnixStream>>>,
    write: tokio::io::WriteHalf<UnixStream>,
}

impl Fake {
    async fn say(&mut self, line: &str) {
        self.write.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    /// The next command and its id.
    async fn hear(&mut self) -> (String, u64) {
        let line = self.read.next_line().await.unwrap().unwrap();
        let message: Value = serde_json::from_str(&line).unwrap();
        (text(&message, "execute"), message["id"].as_u64().unwrap())
    }
}

async fn pair() -> (Qmp, Fake) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (read, write) = split(theirs);
    let mut fake = Fake { read: BufReader::new(read).lines(), write };
    let greet = async {
        fake.say(GREETING).await;
        let (command, id) = fake.hear().await;
        assert_eq!(command, "qmp_capabilities");
        fake.say(&format!(r#"{{"return": {{}}, "id": {id}}}"#)).await;
    };
    let (qmp, ()) = tokio::join!(Qmp::connect(ours, LONG), greet);
    (qmp.unwrap(), fake)
}

#[tokio::test]
async fn answers_find_their_questions_among_events_and_out_of_order() {
    let (qmp, mut fake) = pair().await;
    assert_eq!(qmp.version(), "10.0.2");
    let mut events = qmp.events();
    let serve = async {
        let ((a, one), (b, two)) = (fake.hear().await, fake.hear().await);
        fake.say(r#"{"event": "RESET", "data": {"guest": true}}"#).await;
        fake.say(&format!(r#"{{"return": "{b}", "id": {two}}}"#)).await;
        fake.say(r#"{"event": "STOP"}"#).await;
        fake.say(&format!(r#"{{"return": "{a}", "id": {one}}}"#)).await;
    };
    let (a, b, ()) = tokio::join!(
        qmp.execute("first", json!({}), LONG),
        qmp.execute("second", json!({}), LONG),
        serve
    );
    assert_eq!((a.unwrap(), b.unwrap()), (json!("first"), json!("second")));
    assert_eq!(events.recv().await.unwrap().name, "RESET");
    assert_eq!(events.recv().await.unwrap().name, "STOP");
}

#[tokio::test]
async fn a_refusal_keeps_the_connection() {
    let (qmp, mut fake) = pair().await;
    let serve = async {
        let (_, id) = fake.hear().await;
        let error = r#"{"class": "CommandNotFound", "desc": "no such"}"#;
        fake.say(&format!(r#"{{"error": {error}, "id": {id}}}"#)).await;
        let (_, id) = fake.hear().await;
        fake.say(&format!(r#"{{"return": 1, "id": {id}}}"#)).await;
    };
    let ask = async {
        let refused = qmp.execute("x", json!({}), LONG).await.unwrap_err();
        assert_eq!(refused.to_string(), "`x` was refused: CommandNotFound: no such");
        assert_eq!(qmp.execute("y", json!({}), LONG).await, Ok(json!(1)));
    };
    tokio::join!(serve, ask);
}

#[tokio::test]
async fn a_late_answer_disturbs_nobody() {
    let (qmp, mut fake) = pair().await;
    let late = qmp.execute("slow", json!({}), SHORT).await.unwrap_err();
    assert_eq!(late, QmpError::Deadline { command: "slow".into(), within: SHORT });
    let serve = async {
        let (_, slow) = fake.hear().await;
        let (_, next) = fake.hear().await;
        fake.say(&format!(r#"{{"return": "late", "id": {slow}}}"#)).await;
        fake.say(&format!(r#"{{"return": "next", "id": {next}}}"#)).await;
    };
    let (answer, ()) = tokio::join!(qmp.execute("next", json!({}), LONG), serve);
    assert_eq!(answer, Ok(json!("next")));
}

#[tokio::test]
async fn garbage_ends_the_connection_for_all() {
    for garbage in ["hello", "{\"neither\": 1}", "{\"return\": {}}", "[", "\u{0}\u{1b}[2J"] {
        let (qmp, mut fake) = pair().await;
        let serve = async {
            fake.hear().await;
            fake.say(garbage).await;
        };
        let (answer, ()) = tokio::join!(qmp.execute("x", json!({}), LONG), serve);
        assert!(matches!(answer, Err(QmpError::Closed(_))), "{garbage}: {answer:?}");
        let again = qmp.execute("y", json!({}), LONG).await;
        assert!(matches!(again, Err(QmpError::Closed(_))), "{garbage}: {again:?}");
    }
}

#[tokio::test]
async fn the_end_of_qemu_answers_everybody() {
    let (qmp, mut fake) = pair().await;
    let serve = async {
        fake.hear().await;
        drop(fake);
    };
    let (answer, ()) = tokio::join!(qmp.execute("quit", json!({}), LONG), serve);
    assert_eq!(answer, Err(QmpError::Closed("QEMU closed it".into())));
    assert_eq!(qmp.closed().await, "QEMU closed it");
}

#[tokio::test]
async fn a_greeting_must_come_and_be_one() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    assert!(matches!(Qmp::connect(ours, SHORT).await, Err(QmpError::Deadline { .. })));
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(b"{\"hello\": 1}\n").await.unwrap();
    let error = Qmp::connect(ours, LONG).await.unwrap_err().to_string();
    assert!(error.contains("not a greeting: {\\\"hello\\\":1}"), "{error}");
}
