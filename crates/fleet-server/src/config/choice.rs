//! A key that takes one of a few words: the enum, its words and its error text from one declaration.

/// `choice! { /// doc pub enum Name { /// doc Variant = "word" | "other word", } }`: the first word is the one written.
macro_rules! choice {
    (
        $(#[$meta:meta])*
        pub enum $name:ident {
            $( $(#[$inner:meta])* $variant:ident = $word:literal $(| $other:literal)* , )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $( $(#[$inner])* $variant, )+ }

        impl $name {
            /// The word of the configuration.
            pub fn word(self) -> &'static str {
                match self { $( Self::$variant => $word, )+ }
            }
        }

        impl $crate::config::setting::Setting for $name {
            fn allowed() -> String {
                format!("one of {}", [$( $word ),+].join(", "))
            }
            fn from_text(text: &str) -> Result<Self, $crate::config::setting::Refusal> {
                $( if [$word $(, $other)*].iter().any(|word| word.eq_ignore_ascii_case(text)) {
                    return Ok(Self::$variant);
                } )+
                Err($crate::config::setting::must_be::<Self>())
            }
            fn shown(&self) -> Option<$crate::config::setting::Shown> {
                Some($crate::config::setting::Shown::Text(self.word().to_owned()))
            }
        }
    };
}
pub(crate) use choice;
