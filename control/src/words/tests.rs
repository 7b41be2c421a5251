use super::*;

fn split(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn said(text: &str) -> Result<String, WordsError> {
    Command::parse(&split(text)).map(|command| command.word.form.to_string())
}

fn refused(text: &str) -> WordsError {
    said(text).expect_err(text)
}

#[test]
fn every_form_is_understood_as_itself() {
    for word in WORDS {
        let plain = word.form.to_string().replace("all|N", "all");
        // Without what may be left out, and with a value for each name.
        let plain = plain.split(" [").next().unwrap_or_default();
        let plain = plain.replace("ADDRESS", "192.0.2.7").replace("FILE", "f").replace("CLIENT", "192.0.2.7");
        assert_eq!(said(&plain).as_deref(), Ok(word.form.to_string().as_str()), "{plain}");
    }
    assert_eq!(Command::parse(&split("show port stats 3")).unwrap().arguments.short("N"), Some(3));
}

#[test]
fn no_form_is_there_twice() {
    let mut forms: Vec<String> = WORDS.iter().map(|word| word.form.to_string()).collect();
    forms.sort();
    forms.dedup();
    assert_eq!(forms.len(), WORDS.len());
}

#[test]
fn an_error_names_the_first_wrong_word_and_what_is_known_there() {
    for (text, message, help) in [
        ("", "something is missing", "known here: show, "),
        ("shwo stats", "unknown word `shwo`", "did you mean `show`? known here: show, "),
        ("show worker", "unknown word `worker` after `show`", "did you mean `workers`?"),
        ("show", "something is missing after `show`", "workers, stats, sessions, files, drops, latency, port"),
        ("show port", "something is missing after `show port`", "stats"),
        ("show port stats", "something is missing after `show port stats`", "known here: all, N"),
        ("show port stats x", "unknown word `x` after `show port stats`", "known here: all, N"),
        ("show port stats 65536", "unknown word `65536` after `show port stats`", "known here: all"),
        ("stop now", "`now` is too much after `stop`", "say only `stop`"),
        ("drain holt", "unknown word `holt` after `drain`", "did you mean `hold`?"),
        ("show port stats all 1", "`1` is too much after `show port stats all`", "say only `show port stats all`"),
        ("show\u{1b}[2J", "unknown word `show\\u{1b}[2J`", "known here"),
        (
            "show sessions client bob",
            "`bob` is not an IP address, such as 192.0.2.7 or 2001:db8::7 after `show sessions client`",
            "say `show sessions client ADDRESS`",
        ),
        ("show sessions client", "something is missing after `show sessions client`", "ADDRESS is an IP address"),
        ("show sessions clint ::1", "unknown word `clint` after `show sessions`", "did you mean `client`?"),
    ] {
        let error = refused(text);
        assert_eq!(error.to_string(), message, "{text}");
        assert!(error.help().contains(help), "{text}: {}", error.help());
    }
}

#[test]
fn help_shows_what_begins_with_the_words() {
    let lines = help(&split("show port"));
    assert!(lines.iter().any(|line| line.starts_with("  show port stats all|N  ")), "{lines:?}");
    assert!(lines.iter().all(|line| line.contains("show port")), "{lines:?}");
    assert_eq!(help(&[]).len(), WORDS.len());
    assert!(help(&split("shwo")).is_empty());
}

#[test]
fn the_next_words_are_known() {
    let next = |text: &str| expected(&split(text)).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(next("show port stats"), ["all", "N"]);
    assert_eq!(next("show sessions"), ["client"]);
    assert_eq!(next("show sessions client"), ["ADDRESS"]);
    assert!(next("show sessions client 192.0.2.1").is_empty());
    assert!(next("nonsense").is_empty());
    assert!(next("").contains(&"drain".to_owned()));
}
