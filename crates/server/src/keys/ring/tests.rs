use super::*;

const DAY: u64 = 24 * 60 * 60;
const NOW: u64 = 20_000 * DAY;
const LONGEST: Duration = Duration::from_hours(90 * 24);

fn ring(which: Which) -> Ring {
    let key = which.generate();
    Ring::parse(which, &format!("# about keys\n\n{}\n", key.expose_secret())).unwrap()
}

fn ids(ring: &Ring) -> Vec<&str> {
    ring.keys.iter().map(|key| key.id.as_str()).collect()
}

/// Written and read again.
fn again(ring: &Ring) -> Ring {
    let read = Ring::parse(ring.which, &ring.to_file()).unwrap();
    assert_eq!(*read.to_file(), *ring.to_file());
    read
}

#[test]
fn one_key_takes_the_place_of_another() {
    for which in [Which::Signing, Which::Storage] {
        let mut ring = ring(which);
        let old = ring.keys[0].id.clone();
        let new = ring.rotate(which.generate(), NOW).unwrap();
        let mut ring = again(&ring);
        assert_eq!(ids(&ring), [&old, &new], "the new one is not used yet");
        assert!(ring.to_file().starts_with("# about keys\n\n"), "notes stay");

        assert_eq!(ring.promote(None, NOW + DAY).unwrap(), new);
        let mut ring = again(&ring);
        assert_eq!(ids(&ring), [&new, &old]);

        let promoted = NOW + DAY;
        for (now, force, gone) in [
            (promoted, false, false),
            (promoted + LONGEST.as_secs() - 1, false, false),
            (promoted + LONGEST.as_secs(), false, true),
            (promoted, true, true),
        ] {
            let mut ring = ring.clone();
            let retired = ring.retire(None, now, LONGEST, force);
            assert_eq!(retired.is_ok(), gone, "{now} {force}: {retired:?}");
            if let Err(why) = retired {
                assert!(why.contains("up to 90 days") && why.contains("--force"), "{why}");
            }
        }
        ring.retire(None, promoted + LONGEST.as_secs(), LONGEST, false).unwrap();
        assert_eq!(ids(&again(&ring)), [&new]);
        // It can begin again.
        ring.rotate(which.generate(), NOW).unwrap();
    }
}

#[test]
fn what_would_log_people_out_is_refused() {
    let mut ring = ring(Which::Signing);
    let first = ring.keys[0].id.clone();
    let why = ring.promote(None, NOW).unwrap_err();
    assert!(why.contains("there is no signing key to promote"), "{why}");
    assert!(ring.promote(Some(&first), NOW).unwrap_err().contains("is the first already"));
    for force in [false, true] {
        let why = ring.retire(Some(&first), NOW, LONGEST, force).unwrap_err();
        assert!(why.contains("signs; promote another one first"), "{why}");
    }
    let why = ring.promote(Some("unknown"), NOW).unwrap_err();
    assert!(why.contains("there is no signing key unknown"), "{why}");
    let new = ring.rotate(Which::Signing.generate(), NOW).unwrap();
    let why = ring.rotate(Which::Signing.generate(), NOW).unwrap_err();
    assert!(why.contains(&new) && why.contains("new already"), "{why}");
    // A new one never signed anything.
    ring.retire(Some(&new), NOW, LONGEST, false).unwrap();
    assert_eq!(ids(&ring), [&first]);
}

#[test]
fn keys_without_notes_are_told_by_their_place() {
    let keys: Vec<_> = (0..3).map(|_| MasterKey::generate().to_base64url()).collect();
    let text: Vec<_> = keys.iter().map(ExposeSecret::expose_secret).collect();
    let mut two = Ring::parse(Which::Signing, &text[..2].join(",")).unwrap();
    assert_eq!(*two.to_value(), text[..2].join(","));
    // The only other one is meant, but nothing says how old it is.
    let why = two.clone().retire(None, NOW, LONGEST, false).unwrap_err();
    assert!(why.contains("nothing says how long"), "{why}");
    two.clone().retire(None, NOW, LONGEST, true).unwrap();
    two.promote(None, NOW).unwrap();
    assert_eq!(*two.to_value(), [text[1], text[0]].join(","));

    let three = Ring::parse(Which::Signing, &text.join("\n")).unwrap();
    let why = three.clone().promote(None, NOW).unwrap_err();
    assert!(why.contains("which signing key?"), "{why}");
    let id = three.keys[2].id.clone();
    assert_eq!(three.clone().promote(Some(&id), NOW).unwrap(), id);
}

#[test]
fn the_place_counts_more_than_a_note() {
    let keys: Vec<_> = (0..2).map(|_| MasterKey::generate().to_base64url()).collect();
    let text: Vec<_> = keys.iter().map(ExposeSecret::expose_secret).collect();
    // Somebody changed the lines by hand.
    let file = format!("{} # old since 5\n{} # first since 5\n", text[0], text[1]);
    let ring = Ring::parse(Which::Signing, &file).unwrap();
    let states: Vec<_> = ring.keys.iter().map(|key| (key.state, key.since)).collect();
    assert_eq!(states, [(State::First, None), (State::Other, None)]);
    for note in ["# old since yesterday", "# my spare key", "#", "# old"] {
        let file = format!("{}\n{} {note}\n", text[0], text[1]);
        let ring = Ring::parse(Which::Signing, &file).unwrap();
        assert_eq!(ring.keys[1].state, State::Other, "{note}");
    }
}

#[test]
fn what_is_no_ring_is_refused_without_repeating_it() {
    for (text, why) in [
        ("", "there is no signing key"),
        ("# nothing here\n", "there is no signing key"),
        ("hunter22", "signing key 1: a master key needs at least 32 bytes"),
        ("?hunter2?", "signing key 1: the master key is not base64url"),
    ] {
        let said = Ring::parse(Which::Signing, text).unwrap_err();
        assert!(said.contains(why) && !said.contains("hunter2"), "{said}");
    }
}

#[test]
fn what_is_shown_tells_no_key() {
    for which in [Which::Signing, Which::Storage] {
        let mut ring = ring(which);
        ring.rotate(which.generate(), NOW - 3 * DAY).unwrap();
        ring.promote(None, NOW - DAY).unwrap();
        let shown = format!("{} {ring:?}", ring.describe(NOW));
        for key in &ring.keys {
            assert!(!shown.contains(key.text.expose_secret()), "{shown}");
            assert!(shown.contains(&key.id) && key.id.len() == ID_LENGTH, "{shown}");
        }
        assert!(shown.contains("since yesterday"), "{shown}");
    }
}
