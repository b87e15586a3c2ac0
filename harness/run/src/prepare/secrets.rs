//! `${name}` in the text of an inject: filled from the environment, and slips told. Masking is
//! the command line's affair.

use std::fs;

use hil_core::image::Image;
use hil_core::located::{ConfigError, nearest};

/// `${name}` stands for the secret of that name; other `${…}` stay as they are.
pub(super) fn filled(image: &Image, text: &str) -> String {
    let mut text = text.to_string();
    for (name, secret) in &image.secrets {
        if let Ok(value) = std::env::var(&secret.env) {
            text = text.replace(&format!("${{{name}}}"), &value);
        }
    }
    text
}

/// `${…}` that is all but the name of a secret is a slip that would put the slip into the image.
pub(super) fn check(image: &Image) -> Result<(), ConfigError> {
    for text in image.inject.iter().filter_map(|inject| inject.text.as_deref()) {
        for name in text.split("${").skip(1).filter_map(|rest| rest.split_once('}')) {
            let name = name.0;
            if image.secrets.contains_key(name) {
                continue;
            }
            let near = nearest(name, image.secrets.keys().map(String::as_str));
            // Shell texts have `${…}` of their own; a slip hardly changes the length.
            if let Some(near) = near.filter(|near| near.len().abs_diff(name.len()) <= 2) {
                let why = format!("there is no secret `{name}`, which an inject's text uses");
                let help = format!("did you mean `${{{near}}}`?");
                return Err(at_use(image, name, why).with_help(help));
            }
        }
    }
    Ok(())
}

/// An error where the manifest has `${name}`.
fn at_use(image: &Image, name: &str, why: String) -> ConfigError {
    let manifest = fs::read_to_string(&image.file).unwrap_or_default();
    let mut error = ConfigError::whole(&image.file, why);
    let placed = format!("${{{name}}}");
    let found = manifest.lines().enumerate().find_map(|(n, line)| Some((n, line.find(&placed)?)));
    if let Some((number, offset)) = found {
        let line = manifest.lines().nth(number).unwrap_or_default();
        error.line = number + 1;
        error.column = line[..offset].chars().count() + 1;
        error.text = line.replace('\t', " ");
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn text_takes_secrets_from_the_environment() {
        let text = "name = \"x\"\narch = \"arm\"\n[disk]\nfile = \"d\"\n\
                    [secrets]\nhome = { env = \"HOME\" }\n";
        let image = Image::parse(text, Path::new("image.toml")).unwrap();
        let home = std::env::var("HOME").unwrap();
        assert_eq!(filled(&image, "a ${home} ${other}"), format!("a {home} ${{other}}"));
    }

    fn checked(text: &str) -> Result<(), String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("image.toml");
        let manifest = format!(
            "name = \"x\"\narch = \"arm\"\n[disk]\nfile = \"d\"\n[[inject]]\npartition = \"1\"\n\
             path = \"a\"\ntext = \"{text}\"\n[secrets]\nwifi_psk = {{ env = \"X\" }}\n"
        );
        fs::write(&file, &manifest).unwrap();
        check(&Image::parse(&manifest, &file).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_misspelt_secret_is_shown_where_it_is_used() {
        let error = checked("psk=${wifi_pks}").unwrap_err();
        assert!(error.contains("image.toml:8:13: there is no secret `wifi_pks`"), "{error}");
        assert!(error.contains("did you mean `${wifi_psk}`?"), "{error}");
    }

    #[test]
    fn what_is_plainly_no_secret_stays_as_it_is() {
        for text in ["${wifi_psk}", "${HOME}", "${wifi_psk_file:-}", "${", "$wifi_pks {wifi_pks}"] {
            assert_eq!(checked(text), Ok(()), "{text}");
        }
    }
}
