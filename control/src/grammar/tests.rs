use proptest::prelude::*;

use super::*;

const FILE: Argument = Argument::new("FILE", Kind::Path);

const FORMS: &[Form] = &[
    Form::new(&[Part::Word("take"), Part::Value(FILE)], "h").with(Tail::Options(&[
        Choice { word: "limit", value: Some(Argument::new("SIZE", Kind::Size)) },
        Choice { word: "quick", value: None },
    ])),
    Form::new(&[Part::Word("follow"), Part::Word("stop")], "h"),
    Form::new(&[Part::Word("follow"), Part::Value(Argument::new("WHO", Kind::Name))], "h"),
    Form::new(&[Part::Word("every")], "h").with(Tail::Maybe(Argument::number("N", 1, 60), &[])),
    Form::new(&[Part::Word("watch")], "h").with(Tail::Maybe(
        Argument::number("N", 1, 60),
        &[Choice { word: "count", value: Some(Argument::number("TIMES", 1, 9)) }],
    )),
    Form::new(&[Part::Word("say")], "h").with(Tail::Any(Argument::new("WORD", Kind::Name))),
];

fn split(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn understood(text: &str) -> (usize, Arguments) {
    read(FORMS.iter(), &split(text)).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refused(text: &str) -> String {
    read(FORMS.iter(), &split(text)).expect_err(text).to_string()
}

#[test]
fn options_come_in_any_order_and_once() {
    for text in ["take f quick limit 10M", "take f limit 10M quick"] {
        let (at, arguments) = understood(text);
        assert_eq!((at, arguments.text("FILE"), arguments.number("SIZE")), (0, Some("f"), Some(10 << 20)));
        assert!(arguments.has("quick"));
    }
    let (_, arguments) = understood("take f");
    assert_eq!((arguments.number("SIZE"), arguments.has("quick")), (None, false));
    assert_eq!(refused("take f quick quick"), "unknown word `quick` after `take f quick`", "no more than once");
}

#[test]
fn a_word_goes_before_a_value() {
    assert_eq!(understood("follow stop").0, 1);
    assert_eq!(understood("follow me").1.text("WHO"), Some("me"));
}

#[test]
fn a_tail_may_be_one_value_or_many() {
    assert_eq!(understood("every").1.number("N"), None);
    assert_eq!(understood("every 7").1.number("N"), Some(7));
    assert_eq!(refused("every 61"), "`61` is not a number from 1 to 60 after `every`");
    assert_eq!(refused("every 7 8"), "`8` is too much after `every 7`");
    assert_eq!(understood("say a b c").1.texts("WORD").collect::<Vec<_>>(), ["a", "b", "c"]);
}

#[test]
fn options_may_follow_a_value_that_may_be_left_out() {
    assert_eq!(understood("watch").1.number("N"), None);
    let (_, arguments) = understood("watch 3 count 4");
    assert_eq!((arguments.number("N"), arguments.number("TIMES")), (Some(3), Some(4)));
    assert_eq!(understood("watch count 4").1.number("TIMES"), Some(4));
    assert_eq!(refused("watch 61"), "unknown word `61` after `watch`");
}

#[test]
fn sizes_have_units_and_numbers_have_no_sign() {
    for (text, size) in [("0", Some(0)), ("512", Some(512)), ("3k", Some(3 << 10)), ("2G", Some(2 << 30))] {
        assert_eq!(understood(&format!("take f limit {text}")).1.number("SIZE"), size);
    }
    for text in ["M", "-1", "+1", "1.5M", "99999999999999999999", "18446744073709551615k", "1é"] {
        assert!(refused(&format!("take f limit {text}")).contains("is not a size"), "{text}");
    }
    assert!(refused("every +7").contains("is not a number"));
}

#[test]
fn forms_are_written_as_manuals_write_them() {
    let written: Vec<String> = FORMS.iter().map(ToString::to_string).collect();
    assert_eq!(
        written,
        [
            "take FILE [limit SIZE] [quick]",
            "follow stop",
            "follow WHO",
            "every [N]",
            "watch [N] [count TIMES]",
            "say [WORD ...]"
        ]
    );
}

/// A word that fits.
fn fitting(expected: &Expected) -> String {
    match expected {
        Expected::Word(word) => (*word).to_owned(),
        Expected::Value(Argument { kind: Kind::Number { min, .. }, .. }) => min.to_string(),
        Expected::Value(Argument { kind: Kind::Size, .. }) => "10M".to_owned(),
        Expected::Value(Argument { kind: Kind::Address | Kind::Client, .. }) => "2001:db8::7".to_owned(),
        Expected::Value(Argument { kind: Kind::Port, .. }) => "3".to_owned(),
        Expected::Value(_) => "some".to_owned(),
    }
}

fn any_words() -> impl Strategy<Value = Vec<String>> {
    let known = prop::sample::select(vec![
        "take", "follow", "stop", "every", "watch", "count", "say", "limit", "quick", "10M", "5", "f",
    ]);
    prop::collection::vec(prop_oneof![4 => known.prop_map(str::to_owned), 1 => ".{0,4}"], 0..7)
}

/// How many words were right.
fn right(error: &WordsError) -> usize {
    match error {
        WordsError::Unknown { before, .. }
        | WordsError::WrongValue { before, .. }
        | WordsError::Unfinished { before, .. }
        | WordsError::TooMuch { before, .. } => before.split(' ').filter(|word| !word.is_empty()).count(),
    }
}

proptest! {
    #[test]
    fn going_where_completion_leads_is_understood_or_unfinished(picks in prop::collection::vec(0_usize..8, 0..8)) {
        let mut words: Vec<String> = Vec::new();
        for pick in picks {
            let next = expected(FORMS.iter(), &words);
            if next.is_empty() {
                break;
            }
            words.push(fitting(&next[pick % next.len()]));
        }
        match read(FORMS.iter(), &words) {
            Ok(_) => {}
            Err(WordsError::Unfinished { known, .. }) => prop_assert_eq!(known, expected(FORMS.iter(), &words)),
            Err(error) => prop_assert!(false, "{:?}: {}", words, error),
        }
    }

    #[test]
    fn what_an_error_proposes_leads_further(words in any_words()) {
        let Err(error) = read(FORMS.iter(), &words) else { return Ok(()) };
        prop_assert!(!error.to_string().is_empty() && !error.help().is_empty());
        let known = match &error {
            WordsError::Unknown { known, .. } | WordsError::Unfinished { known, .. } => known.clone(),
            WordsError::WrongValue { wanted, .. } => vec![Expected::Value(*wanted)],
            WordsError::TooMuch { .. } => Vec::new(),
        };
        // An empty word or one with a blank cannot be counted again in the text.
        let at = right(&error);
        prop_assume!(words.iter().take(at + 1).all(|word| !word.is_empty() && !word.contains(char::is_whitespace)));
        for proposal in known {
            let mut better = words[..at].to_vec();
            better.push(fitting(&proposal));
            if let Err(next) = read(FORMS.iter(), &better) {
                prop_assert!(right(&next) > at, "{:?}: {}", better, next);
            }
        }
        if matches!(error, WordsError::TooMuch { .. }) {
            prop_assert!(read(FORMS.iter(), &words[..at]).is_ok(), "{:?}", words);
        }
    }
}
