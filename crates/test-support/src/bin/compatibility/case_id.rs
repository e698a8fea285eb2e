//! The id of a case, and which ids the name of a test carries.
//! In: `CHK-3`, `S2b`, `chk_20_21_ack_06_…`. Out: ids that compare by group, number and letter. The grammar of names
//! is that of `.ci/citations`, which refuses an id that no list has; whether a case exists is not known here.

use std::fmt;

/// `CHK-3`, `A8`, `S2b`; the group keeps its hyphen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CaseId {
    pub(crate) group: String,
    pub(crate) number: u32,
    pub(crate) letter: String,
}

/// Groups whose ids have a hyphen, as names of tests write them.
const WORDS: [&str; 16] = [
    "ac", "ack", "art", "aud", "cfg", "chk", "enr", "fil", "gen", "gfu", "lif", "met", "opa", "pgp", "sta",
    "upl",
];
/// Groups of one letter.
const LETTERS: &str = "abcdefghmorst";
/// What the suite of all stores writes before a case that one class of them owes.
const CLASSES: [&str; 2] = ["transactional_", "document_"];

impl CaseId {
    /// Leading zeros do not count: `CHK-03` is `CHK-3`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits = text.find(|c: char| c.is_ascii_digit())?;
        let (group, rest) = text.split_at(digits);
        let letters = group.strip_suffix('-').unwrap_or(group);
        if letters.is_empty() || !letters.bytes().all(|c| c.is_ascii_uppercase()) {
            return None;
        }
        Self::of(group, rest)
    }

    /// What every id of a name that begins with cases stands for; nothing if it begins with something else.
    ///
    /// A word and its numbers (`ack_06_07`), a letter with its number (`d4`), ranges of one group (`gen_10_to_14`,
    /// `f11_to_f15`), one after the other. What comes first that is none of them begins the sentence. A case of one class
    /// of stores has the class in front.
    pub(crate) fn in_test_name(name: &str) -> Vec<Self> {
        let of_class = CLASSES.iter().find_map(|class| name.strip_prefix(class));
        let parts: Vec<&str> = of_class.unwrap_or(name).split('_').collect();
        let mut ids: Vec<Self> = Vec::new();
        let mut word = None;
        let mut at = 0;
        while let Some(part) = parts.get(at) {
            if let Some(group) = WORDS.iter().find(|word| *word == part)
                && parts.get(at + 1).is_some_and(|next| is_number(next))
            {
                word = Some(format!("{}-", group.to_uppercase()));
                at += 1;
                continue;
            }
            let (is_range, part) = match parts.get(at + 1) {
                Some(end) if *part == "to" && !ids.is_empty() => (true, *end),
                _ => (false, *part),
            };
            let Some(id) = Self::in_part(part, word.as_deref()) else {
                break;
            };
            if !id.group.ends_with('-') {
                word = None;
            }
            if is_range && let Some(first) = ids.last().cloned().filter(|first| first.group == id.group) {
                ids.extend((first.number + 1..id.number).map(|number| Self {
                    number,
                    letter: String::new(),
                    ..first.clone()
                }));
            }
            ids.push(id);
            at += if is_range { 2 } else { 1 };
        }
        ids
    }

    fn in_part(part: &str, word: Option<&str>) -> Option<Self> {
        if is_number(part) {
            return Self::of(word?, part);
        }
        let letter = part.get(..1).filter(|letter| LETTERS.contains(letter))?;
        let number = part.get(1..).filter(|number| is_number(number))?;
        Self::of(&letter.to_uppercase(), number).filter(|id| id.number < 100)
    }

    fn of(group: &str, rest: &str) -> Option<Self> {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, letter) = rest.split_at(end);
        Some(Self {
            group: group.to_owned(),
            number: number.parse().ok()?,
            letter: is_letter(letter).then(|| letter.to_owned())?,
        })
    }
}

fn is_letter(text: &str) -> bool {
    matches!(text, "" | "a" | "b" | "c" | "d")
}

fn is_number(part: &str) -> bool {
    let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
    (1..=3).contains(&end) && is_letter(&part[end..])
}

impl fmt::Display for CaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.group, self.number, self.letter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(name: &str) -> String {
        let ids = CaseId::in_test_name(name);
        ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn names_carry_ids_until_the_sentence_begins() {
        for (name, carried) in [
            ("chk_03_it_is_so", "CHK-3"),
            ("art_02_03_others_are_refused", "ART-2 ART-3"),
            ("c14_null", "C14"),
            ("f8_it_goes_on", "F8"),
            ("ac_41b_an_ack_belongs_to_its_action", "AC-41b"),
            ("s02b_what_stays", "S2b"),
            ("chk_20_21_ack_06_an_action", "CHK-20 CHK-21 ACK-6"),
            ("ac_42_f8_ack_13_the_check_in", "AC-42 F8 ACK-13"),
            ("f16_ac_85_the_last_word", "F16 AC-85"),
            ("ack_01_d10_d11_ack_09_policies", "ACK-1 D10 D11 ACK-9"),
            ("t02_t05_t08_r29_a_bad_start", "T2 T5 T8 R29"),
            ("transactional_s03b_at_once", "S3b"),
        ] {
            assert_eq!(ids(name), carried, "{name}");
        }
    }

    #[test]
    fn ranges_are_of_one_group() {
        assert_eq!(ids("gen_10_to_12_each"), "GEN-10 GEN-11 GEN-12");
        assert_eq!(ids("f11_to_f13_details"), "F11 F12 F13");
        assert_eq!(ids("chk_41_to_43_f11_to_f12_x"), "CHK-41 CHK-42 CHK-43 F11 F12");
        assert_eq!(ids("t21_to_t23_t57_writers"), "T21 T22 T23 T57");
        assert_eq!(ids("c2_chk_09_to_11_lengths"), "C2 CHK-9 CHK-10 CHK-11");
        assert_eq!(ids("d2_to_the_end"), "D2");
        assert_eq!(ids("d2_to_f5_x"), "D2 F5");
        assert_eq!(ids("b1_to_2_x"), "B1", "a number alone belongs to a word");
    }

    #[test]
    fn words_that_look_alike_carry_nothing() {
        for name in [
            "a_name",
            "ack_of_a_policy",
            "case_13_a_value",
            "attack_04_bodies",
            "row_24_a_peer",
            "an_idle_h2_connection",
            "http2_frames",
            "t1234_x",
            "s100_x",
            "c7x_x",
            "chk",
            "to_2",
            "",
            "é_1",
        ] {
            assert_eq!(ids(name), "", "{name}");
        }
        assert_eq!(ids("s17_a_hundred_thousand_agents"), "S17");
        assert_eq!(ids("t57_a_thousand_rotations"), "T57");
    }

    #[test]
    fn ids_are_read_without_their_zeros_and_sorted_by_number() {
        let read = |text| CaseId::parse(text).unwrap().to_string();
        assert_eq!(read("CHK-03"), "CHK-3");
        assert_eq!(read("S02b"), "S2b");
        assert_eq!(read("AC-86"), "AC-86");
        for text in [
            "",
            "id",
            "CHK",
            "CHK-",
            "-3",
            "chk-3",
            "S2bb",
            "3",
            "S99999999999",
        ] {
            assert_eq!(CaseId::parse(text), None, "{text}");
        }
        let mut ids = ["S10", "S2b", "S2", "S3"].map(|text| CaseId::parse(text).unwrap());
        ids.sort();
        assert_eq!(ids.map(|id| id.to_string()), ["S2", "S2b", "S3", "S10"]);
    }
}
