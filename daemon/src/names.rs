//! The rules for names of addresses and nodes, and suggestions for mistyped ones.

use rouse_core::Service;

use crate::text::{is_hazardous, one_line};

/// The longest name, in characters.
pub const MAX_NAME: usize = 64;

/// Checks that `name` may be the name of an address or a node.
///
/// # Errors
/// The reason for which it may not.
pub fn check(name: &str) -> Result<(), String> {
    let characters = name.chars().count();
    if characters == 0 || characters > MAX_NAME {
        return Err(format!("a name has 1 to {MAX_NAME} characters, `{name}` has {characters}"));
    }
    if name.get(..6).is_some_and(|head| head.eq_ignore_ascii_case("rouse1")) {
        return Err(format!("`{name}` begins with `rouse1`, which only addresses may"));
    }
    if name.starts_with('-') || name.chars().any(|c| c.is_whitespace() || is_hazardous(c)) {
        return Err(format!(
            "a name has no spaces or invisible characters and does not begin with a dash: `{}`",
            one_line(name)
        ));
    }
    Ok(())
}

/// Parses the name of a service that requests go to. The empty name is that of the ordinary mailbox, where no request is
/// answered.
pub fn service(text: &str) -> Result<Service, String> {
    match text.is_empty() {
        true => Err("the name of a service is not empty".to_owned()),
        false => mailbox(text),
    }
}

/// Parses the name of a service that messages go to; the empty name is that of the ordinary mailbox.
pub fn mailbox(text: &str) -> Result<Service, String> {
    let service: Service = text.parse().map_err(|error| format!("{error}"))?;
    match text.chars().any(is_hazardous) {
        true => Err("the name of a service has no control or invisible characters".to_owned()),
        false => Ok(service),
    }
}

/// The one of `known` that is most similar to `wrong`, if any is similar enough to be suggested.
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = known.into_iter().map(|name| (strsim::jaro_winkler(wrong, name), name));
    let best = near.max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    (best.0 > 0.75).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_word_that_does_not_begin_like_an_address() {
        for good in ["bob", "küche", "a", "rouse", "node-7.example"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        let long = "x".repeat(MAX_NAME + 1);
        for bad in [
            "",
            "rouse1bob",
            "ROUSE1x",
            "two words",
            "-c",
            "a\u{7}b",
            "tab\t",
            "a\u{202e}b",
            "a\u{200b}",
            &long,
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_service_has_a_visible_name_which_only_that_of_the_ordinary_mailbox_lacks() {
        for parse in [service, mailbox] {
            assert_eq!(parse("clock").unwrap().as_str(), "clock");
            for bad in ["a\nb", "a\u{202e}b", "\u{1b}[2J", "\0", &"x".repeat(65)] {
                assert!(parse(bad).is_err(), "{bad:?}");
            }
        }
        assert!(mailbox("").unwrap().is_default());
        assert!(service("").is_err());
    }

    #[test]
    fn the_nearest_name_is_near() {
        assert_eq!(nearest("lisen", ["listen", "level", "kind"]), Some("listen"));
        assert_eq!(nearest("zzz", ["listen", "level"]), None);
    }
}
