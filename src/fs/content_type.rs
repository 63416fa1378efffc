//! `Content-Type` after the ending of a name.

use crate::s3::Key;

/// What a file of this name most likely holds; `None` when the ending says nothing.
pub(super) fn of(key: &Key) -> Option<String> {
    let guess = mime_guess::from_path(key.as_str()).first_raw();
    guess.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_endings_have_a_type_and_others_have_none() {
        let of = |key: &str| of(&Key::new(key).expect("a valid key"));
        assert_eq!(of("a/page.html").as_deref(), Some("text/html"));
        assert_eq!(of("photo.JPG").as_deref(), Some("image/jpeg"));
        assert_eq!(of("data.json").as_deref(), Some("application/json"));
        assert_eq!(of("a.html/plain"), None);
        assert_eq!(of("no-ending"), None);
        assert_eq!(of("strange.zzzz"), None);
    }
}
