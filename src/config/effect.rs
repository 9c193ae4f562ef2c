//! What a result of a check does: a word, or a score.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::{borrow::Cow, fmt, str::FromStr};

/// What a result does: nothing (`"accept"`), a refusal, a mark on the message, or a score.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Effect {
    /// Nothing.
    #[default]
    Nothing,
    /// 4xx.
    Defer,
    /// 5xx.
    Reject,
    /// The last reply, then the end.
    Close,
    /// The message is tagged.
    Tag,
    /// Replies are slow from here on.
    Tarpit,
    /// The greylist is asked.
    Greylist,
    /// The message goes to the pool for suspicious mail.
    Quarantine,
    /// Added to the message's score.
    Score(f64),
}

/// All but a score.
const WORDS: [&str; 8] = [
    "accept",
    "tag",
    "greylist",
    "defer",
    "tarpit",
    "quarantine",
    "reject",
    "close",
];

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Effect::Nothing => f.pad("accept"),
            Effect::Defer => f.pad("defer"),
            Effect::Reject => f.pad("reject"),
            Effect::Close => f.pad("close"),
            Effect::Tag => f.pad("tag"),
            Effect::Tarpit => f.pad("tarpit"),
            Effect::Greylist => f.pad("greylist"),
            Effect::Quarantine => f.pad("quarantine"),
            Effect::Score(score) => write!(f, "{score:?}"),
        }
    }
}

impl Serialize for Effect {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Effect::Score(score) => serializer.serialize_f64(*score),
            _ => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Effect {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Effect, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Whole(i64),
            Score(f64),
            Word(String),
        }
        match Raw::deserialize(deserializer)? {
            Raw::Whole(score) => Ok(Effect::Score(score as f64)),
            Raw::Score(score) => Ok(Effect::Score(score)),
            Raw::Word(word) => word.parse().map_err(D::Error::custom),
        }
    }
}

impl FromStr for Effect {
    type Err = String;

    fn from_str(word: &str) -> Result<Effect, String> {
        match word {
            "accept" => Ok(Effect::Nothing),
            "defer" => Ok(Effect::Defer),
            "reject" => Ok(Effect::Reject),
            "close" => Ok(Effect::Close),
            "tag" => Ok(Effect::Tag),
            "tarpit" => Ok(Effect::Tarpit),
            "greylist" => Ok(Effect::Greylist),
            "quarantine" => Ok(Effect::Quarantine),
            _ => {
                let why = format!("`{word}` is none of {}", WORDS.join(", "));
                let is_number = word.trim().parse::<f64>().is_ok();
                Err(match super::nearest::meant(word, WORDS.iter().copied()) {
                    Some(near) => format!("{why}; did you mean \"{near}\"?"),
                    None if is_number => format!("{why}; a score is a number without quotes"),
                    None => why,
                })
            }
        }
    }
}

impl JsonSchema for Effect {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Effect".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "number"], "format": "effect" })
    }
}
