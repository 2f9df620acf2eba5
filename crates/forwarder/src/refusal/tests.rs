use super::Refusal;
use crate::{Ended, path::PathError};

/// The JSON is put together by hand, which is right as long as nothing in it needs escaping.
#[test]
fn no_words_need_escaping() {
    for refusal in [
        Refusal::Path(PathError::NotAbsolute),
        Refusal::Path(PathError::DotSegment),
        Refusal::Path(PathError::EmptySegment),
        Refusal::Path(PathError::EncodedSlash),
        Refusal::Path(PathError::Backslash),
        Refusal::Path(PathError::Control),
        Refusal::Path(PathError::Malformed),
        Refusal::NotFound,
        Refusal::Method,
        Refusal::SeveralSessions,
        Refusal::UnknownSession,
        Refusal::Upload,
        Refusal::TooLarge,
        Refusal::Ended(Ended::Revoked),
        Refusal::Ended(Ended::Expired),
        Refusal::Ended(Ended::Overdue),
        Refusal::Ended(Ended::Stopping),
        Refusal::Unreachable,
        Refusal::ConnectTimeout,
        Refusal::BackendAuthentication,
        Refusal::BackendAnswer,
    ] {
        let text = format!("{}{}", refusal.code(), refusal.description());
        let plain = |letter: char| letter.is_ascii() && !letter.is_ascii_control();
        assert!(text.chars().all(|letter| plain(letter) && !"\"\\".contains(letter)), "{text}");
        assert!(refusal.status().is_client_error() || refusal.status().is_server_error());
    }
}
