//! Pictures as SVG text. The colours are of middle brightness, and there is no background, so that they read on a light
//! page and on a dark one.

use std::fmt::Write as _;

use crate::plan::Who;

/// Words and axes.
pub(super) const INK: &str = "#7d8590";
/// Lines of the grid.
const GRID: &str = "#7d859040";

/// A picture in the making.
pub(super) struct Svg {
    width: f64,
    height: f64,
    body: String,
}

/// Which side of its place a text is on.
#[derive(Debug, Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Svg {
    pub(super) fn new(width: f64, height: f64) -> Self {
        Self {
            width,
            height,
            body: String::new(),
        }
    }

    pub(super) fn text(&mut self, x: f64, y: f64, anchor: Anchor, size: f64, weight: &str, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        let _ = writeln!(
            self.body,
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}" fill="{INK}">{text}</text>"#
        );
    }

    /// Words of the usual size.
    pub(super) fn label(&mut self, x: f64, y: f64, anchor: Anchor, text: &str) {
        self.text(x, y, anchor, 12.0, "normal", text);
    }

    pub(super) fn line(&mut self, from: (f64, f64), to: (f64, f64), colour: &str, width: f64) {
        let ((x1, y1), (x2, y2)) = (from, to);
        let _ = writeln!(
            self.body,
            r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="{colour}" stroke-width="{width}"/>"#
        );
    }

    pub(super) fn grid(&mut self, from: (f64, f64), to: (f64, f64)) {
        self.line(from, to, GRID, 1.0);
    }

    pub(super) fn path(&mut self, points: &[(f64, f64)], who: Who) {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let (colour, width) = (colour(who), if who == Who::Undercroft { 3.0 } else { 1.5 });
        let _ = writeln!(
            self.body,
            r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="{width}"/>"#,
            points.join(" ")
        );
    }

    /// A contender's mark: of its own colour and its own shape.
    pub(super) fn mark(&mut self, x: f64, y: f64, who: Who) {
        let colour = colour(who);
        let polygon = |corners: &[(f64, f64)]| {
            let corners: Vec<String> = corners
                .iter()
                .map(|(dx, dy)| format!("{:.1},{:.1}", x + dx, y + dy))
                .collect();
            format!(r#"<polygon points="{}" fill="{colour}"/>"#, corners.join(" "))
        };
        let shape = match who {
            Who::Undercroft => format!(r#"<circle cx="{x:.1}" cy="{y:.1}" r="6" fill="{colour}"/>"#),
            Who::Limit | Who::LimitInline => polygon(&[(-1.5, -7.0), (1.5, -7.0), (1.5, 7.0), (-1.5, 7.0)]),
            Who::Tuned => polygon(&[(-4.5, -4.5), (4.5, -4.5), (4.5, 4.5), (-4.5, 4.5)]),
            Who::Sqlx => polygon(&[(0.0, -6.0), (6.0, 0.0), (0.0, 6.0), (-6.0, 0.0)]),
            Who::Diesel => polygon(&[(0.0, -5.5), (5.5, 4.5), (-5.5, 4.5)]),
            Who::Held => polygon(&[(0.0, 5.5), (5.5, -4.5), (-5.5, -4.5)]),
            Who::Newcomer | Who::NewcomerTen => format!(
                r#"<path d="M{:.1} {:.1}l9 9m0 -9l-9 9" stroke="{colour}" stroke-width="2.5" fill="none"/>"#,
                x - 4.5,
                y - 4.5
            ),
        };
        self.body.push_str(&shape);
        self.body.push('\n');
    }

    /// Marks with their names, in one row.
    pub(super) fn legend(&mut self, x: f64, y: f64, names: &[(Who, &str)]) {
        let mut x = x;
        for (who, name) in names {
            self.mark(x, y, *who);
            self.label(x + 12.0, y + 4.0, Anchor::Start, name);
            x += 36.0 + 7.3 * name.chars().count() as f64;
        }
    }

    pub(super) fn finish(self) -> String {
        let Self { width, height, body } = self;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" font-family=\"system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif\">\n\
             {body}</svg>\n"
        )
    }
}

fn colour(who: Who) -> &'static str {
    match who {
        Who::Undercroft => "#12a37a",
        Who::Limit | Who::LimitInline => "#7d8590",
        Who::Tuned => "#3b8eea",
        Who::Sqlx => "#d9880f",
        Who::Diesel => "#b05cd6",
        Who::Held => "#9c8350",
        Who::Newcomer | Who::NewcomerTen => "#e5484d",
    }
}

/// A scale on which equal ratios are equal distances.
#[derive(Debug, Clone, Copy)]
pub(super) struct Log {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Log {
    /// From `from` to `to` on the picture, with all of these numbers within.
    pub(super) fn over(numbers: &[f64], from: f64, to: f64) -> Self {
        let usable = || numbers.iter().copied().filter(|number| *number > 0.0);
        let low = usable().min_by(f64::total_cmp).unwrap_or(1.0) / 1.15;
        let high = usable().max_by(f64::total_cmp).unwrap_or(10.0) * 1.15;
        Self { low, high, from, to }
    }

    pub(super) fn at(&self, number: f64) -> f64 {
        let share = (number / self.low).ln() / (self.high / self.low).ln();
        self.from + share * (self.to - self.from)
    }

    /// Where lines of the grid go: 1, 2, 5, or only 1 of each power of ten when there are many of them.
    pub(super) fn ticks(&self) -> Vec<f64> {
        let powers = self.low.log10().floor() as i32..=self.high.log10().ceil() as i32;
        let steps: &[f64] = if self.high / self.low > 5_000.0 {
            &[1.0]
        } else {
            &[1.0, 2.0, 5.0]
        };
        let all = powers.flat_map(|power| steps.iter().map(move |step| step * 10f64.powi(power)));
        all.filter(|tick| (self.low..=self.high).contains(tick)).collect()
    }
}

/// A number on an axis.
pub(super) fn tick(number: f64) -> String {
    match number {
        large if large >= 999_999.5 => format!("{} M", large / 1e6),
        large if large >= 999.5 => format!("{} k", large / 1e3),
        small => format!("{}", (small * 1e6).round() / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_covers_its_numbers() {
        let scale = Log::over(&[1.0, 100.0], 0.0, 1_000.0);
        assert!(scale.at(1.0) > 0.0 && scale.at(100.0) < 1_000.0);
        assert!((scale.at(10.0) - 500.0).abs() < 1e-6);
        assert_eq!(scale.ticks(), [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
        assert!(Log::over(&[], 0.0, 1.0).at(2.0).is_finite());
    }

    #[test]
    fn ticks_are_short() {
        assert_eq!(
            [0.5, 1.0, 200.0, 10_000.0, 2_000_000.0].map(tick),
            ["0.5", "1", "200", "10 k", "2 M"]
        );
    }
}
