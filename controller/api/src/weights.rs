//! Who serves: the shares of the two colors, and the words for them.

use cutover_proxy::table::Color;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The shares of the two colors of a service. At least one is not zero.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Weights {
    /// Of blue.
    #[schema(example = 95)]
    pub blue: u32,
    /// Of green.
    #[schema(example = 5)]
    pub green: u32,
}

impl Weights {
    /// All of a color, or half and half.
    #[must_use]
    pub fn of(target: Target) -> Self {
        match target {
            Target::Blue => Self { blue: 100, green: 0 },
            Target::Both => Self { blue: 50, green: 50 },
            Target::Green => Self { blue: 0, green: 100 },
        }
    }

    /// The share of one color.
    #[must_use]
    pub fn color(self, color: Color) -> u32 {
        match color {
            Color::Blue => self.blue,
            Color::Green => self.green,
        }
    }

    /// Whether the color gets requests.
    #[must_use]
    pub fn serves(self, color: Color) -> bool {
        self.color(color) > 0
    }

    /// The share of one color, from 0 to 1.
    #[must_use]
    pub fn fraction(self, color: Color) -> f64 {
        let sum = f64::from(self.blue) + f64::from(self.green);
        if sum > 0.0 { f64::from(self.color(color)) / sum } else { 0.0 }
    }

    /// Which colors serve.
    #[must_use]
    pub fn active(self) -> Target {
        match (self.blue, self.green) {
            (_, 0) => Target::Blue,
            (0, _) => Target::Green,
            _ => Target::Both,
        }
    }
}

/// What serves, or is to serve.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// Only blue.
    Blue,
    /// Both, half and half.
    Both,
    /// Only green.
    Green,
}

impl Target {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Blue => "blue",
            Self::Both => "both",
            Self::Green => "green",
        }
    }

    /// The colors that serve under it.
    #[must_use]
    pub fn colors(self) -> &'static [Color] {
        match self {
            Self::Blue => &[Color::Blue],
            Self::Both => &Color::ALL,
            Self::Green => &[Color::Green],
        }
    }
}

impl From<Color> for Target {
    fn from(color: Color) -> Self {
        match color {
            Color::Blue => Self::Blue,
            Color::Green => Self::Green,
        }
    }
}
