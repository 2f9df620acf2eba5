use std::fs;

use oidc_proxy::AuditAction;
use serde_json::Value;

use super::*;

fn events(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_str(line).expect(line))
        .collect()
}

fn event(collection: &str) -> AuditEvent {
    AuditEvent::record_unreadable(collection)
}

#[test]
fn events_are_appended_a_line_each_to_a_file_of_its_owner() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    for collection in ["one", "two"] {
        let (file, writing) = open(&AuditLog::File(path.clone())).unwrap().unwrap();
        file.record(&event(collection));
        writing.end().unwrap();
        assert!(!file.is_failing());
    }
    let events = events(&path);
    assert_eq!(events.len(), 2);
    assert_eq!(events[1]["event"], "record_unreadable");
    assert_eq!(events[1]["outcome"], "alarm");
    assert!(events[1]["time"].as_str().unwrap().ends_with('Z'));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn the_manual_has_every_event() {
    let mut table = "| event | outcome | what happened |\n| --- | --- | --- |\n".to_owned();
    for action in AuditAction::ALL {
        let outcome = serde_json::to_value(action.outcome()).unwrap();
        let (name, outcome) = (action.as_str(), outcome.as_str().unwrap());
        let row = format!("| `{name}` | `{outcome}` | {} |\n", action.sentence());
        table.push_str(&row);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operations.md");
    let manual = fs::read_to_string(path).unwrap();
    let (_, after) = manual.split_once("<!-- events: begin -->\n\n").unwrap();
    let (found, _) = after.split_once("\n<!-- events: end -->").unwrap();
    assert!(found == table, "replace the table in docs/operations.md by this:\n\n{table}");
}

#[test]
fn a_file_that_was_moved_away_is_begun_anew() {
    let directory = tempfile::tempdir().unwrap();
    let (path, moved) = (directory.path().join("audit.jsonl"), directory.path().join("old"));
    let (file, writing) = open(&AuditLog::File(path.clone())).unwrap().unwrap();
    file.record(&event("before"));
    // What was recorded goes to the old file, whenever it is moved.
    fs::rename(&path, &moved).unwrap();
    file.reopen();
    file.record(&event("after"));
    writing.end().unwrap();
    assert_eq!((events(&moved).len(), events(&path).len()), (1, 1));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_noticed_and_blocks_nobody() {
    let (file, writing) = open(&AuditLog::File("/dev/full".into())).unwrap().unwrap();
    for _ in 0..3 {
        file.record(&event("lost"));
    }
    writing.end().unwrap();
    assert!(file.is_failing());
    // Its thread is gone: that is no panic either.
    file.record(&event("late"));
}

#[test]
fn more_events_than_can_wait_are_lost_and_not_waited_for() {
    let (orders, received) = sync_channel(1);
    let file = AuditFile { orders, health: Arc::default() };
    file.record(&event("waits"));
    assert!(!file.is_failing());
    file.record(&event("lost"));
    assert!(file.is_failing());
    drop(received);
}

#[test]
fn after_half_a_line_the_next_begins_on_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    let target = Target::file(path.clone()).unwrap();
    let mut writer = Writer { target, torn: true, health: Arc::default() };
    fs::write(&path, "{\"half\":").unwrap();
    writer.write("{\"whole\":true}\n".to_owned());
    writer.write("{\"next\":true}\n".to_owned());
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text, "{\"half\":\n{\"whole\":true}\n{\"next\":true}\n");
}

#[test]
fn a_file_that_cannot_be_opened_is_one_sentence() {
    let error = open(&AuditLog::File("/nowhere/at/all".into())).err().unwrap();
    assert!(format!("{error:#}").starts_with("could not open the audit log /nowhere/at/all"));
}
