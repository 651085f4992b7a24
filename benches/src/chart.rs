//! The ratios of a comparison as a chart.

use anyhow::anyhow;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::compare::{CaseResult, Row};
use crate::report::ratio;
use crate::summary::Spread;

/// Draws, for each case that is divided by `HAProxy`, a bar per proxy from 1 to its median ratio, and
/// a line from its least to its most. Returns an SVG document; `caption` stands below the chart.
///
/// # Errors
/// Fails when there is no ratio to draw.
pub fn svg(caption: &str, results: &[CaseResult]) -> anyhow::Result<String> {
    let groups: Vec<Group<'_>> = results.iter().filter_map(Group::of).collect();
    if groups.is_empty() {
        return Err(anyhow!("a chart needs haproxy, another proxy, and a case that compares them"));
    }
    let mut document = String::new();
    draw(&mut document, caption, &groups).map_err(|error| anyhow!("drawing: {error}"))?;
    Ok(document)
}

/// The bars of one case.
struct Group<'a> {
    title: &'a str,
    bars: Vec<(&'a str, Spread)>,
}

impl<'a> Group<'a> {
    fn of(result: &'a CaseResult) -> Option<Self> {
        let (base, others) = result.rows.split_first()?;
        let bar = |row: &'a Row| Some((row.name.as_str(), ratio(&row.samples)?));
        let bars: Vec<_> = others.iter().filter_map(bar).collect();
        (base.name == "haproxy" && !bars.is_empty())
            .then_some(Self { title: result.case.title, bars })
    }

    /// Its title, its bars, and room below.
    fn lines(&self) -> i32 {
        i32::try_from(self.bars.len()).unwrap_or(0) + 2
    }
}

type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

fn draw(document: &mut String, caption: &str, groups: &[Group<'_>]) -> Drawn {
    let lines = groups.iter().map(Group::lines).sum::<i32>();
    let height = ABOVE + lines * LINE + BELOW;
    let size = (WIDTH.unsigned_abs(), height.unsigned_abs());
    let area = SVGBackend::with_string(document, size).into_drawing_area();
    area.fill(&WHITE)?;
    let chart = Chart { scale: Scale::of(groups), area };
    chart.text((WIDTH / 2, ABOVE / 2), HPos::Center, 16, HEADLINE)?;
    let mut top = ABOVE;
    for group in groups {
        chart.group(group, top)?;
        top += group.lines() * LINE;
    }
    for tick in chart.scale.ticks() {
        chart.text((chart.scale.at(tick), top), HPos::Center, 12, &format!("{tick}"))?;
    }
    chart.text((WIDTH / 2, height - 14), HPos::Center, 11, caption)?;
    chart.area.present()
}

/// What is drawn on, in pixels.
struct Chart<'a> {
    area: DrawingArea<SVGBackend<'a>, Shift>,
    scale: Scale,
}

impl Chart<'_> {
    fn group(&self, group: &Group<'_>, top: i32) -> Drawn {
        self.text((EDGE, top + LINE / 2), HPos::Left, 13, group.title)?;
        let (first, last) = (top + LINE, top + (group.lines() - 1) * LINE);
        for tick in self.scale.ticks() {
            let x = self.scale.at(tick);
            self.area.draw(&PathElement::new([(x, first), (x, last)], GRID))?;
        }
        for (y, (name, ratio)) in (first..).step_by(LINE.unsigned_abs() as usize).zip(&group.bars) {
            self.bar(name, ratio, y)?;
        }
        let one = self.scale.at(1.0);
        self.area.draw(&PathElement::new([(one, first), (one, last)], BLACK))
    }

    fn bar(&self, name: &str, ratio: &Spread, top: i32) -> Drawn {
        let at = |ratio| self.scale.at(ratio);
        let color = if name == "cutover" { OURS } else { THEIRS };
        let corners = [(at(1.0), top + 3), (at(ratio.median), top + LINE - 3)];
        self.area.draw(&Rectangle::new(corners, color.filled()))?;
        let middle = top + LINE / 2;
        let spread = [(at(ratio.least), middle), (at(ratio.most), middle)];
        self.area.draw(&PathElement::new(spread, BLACK))?;
        self.text((LEFT - 8, middle), HPos::Right, 12, name)?;
        let end = at(ratio.most).max(at(1.0));
        self.text((end + 6, middle), HPos::Left, 12, &format!("{:.2}", ratio.median))
    }

    fn text(&self, at: (i32, i32), side: HPos, pixels: i32, words: &str) -> Drawn {
        let style = ("sans-serif", pixels).into_font().color(&BLACK);
        self.area.draw(&Text::new(words, at, style.pos(Pos::new(side, VPos::Center))))
    }
}

/// From a ratio to a place on the x axis, logarithmic.
struct Scale {
    least: f64,
    most: f64,
}

impl Scale {
    /// All bars fit in, and 1.
    fn of(groups: &[Group<'_>]) -> Self {
        let ratios = || groups.iter().flat_map(|group| &group.bars).map(|(_, ratio)| ratio);
        let least = ratios().map(|ratio| ratio.least).fold(0.5, f64::min).max(0.01);
        let most = ratios().map(|ratio| ratio.most).fold(2.0, f64::max).min(100.0);
        Self { least, most }
    }

    #[expect(clippy::cast_possible_truncation, reason = "a pixel within the chart")]
    fn at(&self, ratio: f64) -> i32 {
        let share = (ratio / self.least).ln() / (self.most / self.least).ln();
        LEFT + (share.clamp(0.0, 1.0) * f64::from(RIGHT - LEFT)) as i32
    }

    /// The powers of two within.
    fn ticks(&self) -> impl Iterator<Item = f64> {
        let within = self.least..=self.most;
        (-6..=6).map(|power| 2_f64.powi(power)).filter(move |tick| within.contains(tick))
    }
}

const HEADLINE: &str =
    "CPU per request, or memory per idle client, as a multiple of HAProxy's (less is better)";
/// Pixels of the whole width, from its edge to the titles, and where the bars begin and end.
const WIDTH: i32 = 860;
const EDGE: i32 = 16;
const LEFT: i32 = 140;
const RIGHT: i32 = 790;
/// Pixels of one bar with its room, and of what stands above and below all of them.
const LINE: i32 = 20;
const ABOVE: i32 = 50;
const BELOW: i32 = 50;
const GRID: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);
const OURS: RGBColor = RGBColor(0x1f, 0x6f, 0xb4);
const THEIRS: RGBColor = RGBColor(0xb8, 0xb8, 0xb8);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::CASES;
    use crate::compare::{Measured, Sample};
    use crate::load::Figures;

    fn row(name: &str, ratios: &[f64]) -> Row {
        let measured = Measured::Load { cpu_ns: 1.0, user_share: 0.5, figures: Figures::default() };
        let samples = ratios.iter().map(|ratio| Sample { ratio: Some(*ratio), measured }).collect();
        Row { name: name.to_owned(), samples, flips: vec![] }
    }

    fn result(rows: Vec<Row>) -> CaseResult {
        CaseResult { case: CASES[0], rows, direct: None }
    }

    #[test]
    fn a_chart_names_each_case_and_each_proxy_but_the_base() {
        let rows = vec![
            row("haproxy", &[1.0, 1.0]),
            row("nginx", &[0.9, 1.1]),
            row("cutover", &[0.7, 0.8]),
        ];
        let document = svg("today", &[result(rows)]).unwrap();
        for words in ["<svg", CASES[0].title, "nginx", "cutover", "0.75", "1.00", "today", "</svg>"]
        {
            assert!(document.contains(words), "{words} in {document}");
        }
        assert!(!document.contains("haproxy"));
    }

    #[test]
    fn without_haproxy_there_is_nothing_to_draw() {
        assert!(
            svg("", &[result(vec![row("1 worker", &[1.0]), row("2 workers", &[1.8])])]).is_err()
        );
        assert!(svg("", &[result(vec![row("haproxy", &[1.0])])]).is_err());
    }

    #[test]
    fn twice_and_half_are_equally_far_from_one() {
        let scale = Scale { least: 0.25, most: 4.0 };
        let (half, one, twice) = (scale.at(0.5), scale.at(1.0), scale.at(2.0));
        assert!((one - half).abs_diff(twice - one) <= 1, "{half} {one} {twice}");
        assert_eq!(scale.ticks().collect::<Vec<_>>(), [0.25, 0.5, 1.0, 2.0, 4.0]);
        assert_eq!((scale.at(0.01), scale.at(99.0)), (LEFT, RIGHT));
    }
}
