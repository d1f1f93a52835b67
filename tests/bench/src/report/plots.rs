//! The three pictures of the page.

use super::svg::{Anchor, INK, Log, Svg, tick};
use crate::plan::{Backend, Who, Work};
use crate::results::{Measured, Results};

const WIDTH: f64 = 960.0;

const NAMES: [(Who, &str); 7] = [
    (Who::Limit, "limit"),
    (Who::Undercroft, "undercroft"),
    (Who::Held, "one held connection"),
    (Who::Tuned, "SeaORM tuned"),
    (Who::Sqlx, "sqlx"),
    (Who::Diesel, "Diesel"),
    (Who::Newcomer, "SeaORM newcomer"),
];

/// The works of the first picture, with the number of tasks that says most.
const SHOWN: [(Work, usize); 13] = [
    (Work::ReadKey, 1),
    (Work::ReadKey, 64),
    (Work::ReadUnique, 64),
    (Work::Page, 1),
    (Work::PageDeep, 1),
    (Work::Insert, 1),
    (Work::Insert, 64),
    (Work::Create, 64),
    (Work::Transaction, 64),
    (Work::Bulk, 1),
    (Work::Chat, 64),
    (Work::Claim, 8),
    (Work::Stream, 1),
];

/// A line of the first picture: what it is, and everybody's ratio.
type Line = (String, Vec<(Who, f64)>);

/// Everybody's cost as a multiple of the limit, work by work.
pub(super) fn ratios(results: &Results) -> String {
    let parts: Vec<(Backend, Vec<Line>)> = Backend::ALL
        .into_iter()
        .map(|backend| (backend, lines(results, backend)))
        .filter(|(_, lines)| !lines.is_empty())
        .collect();
    let (left, right, step) = (290.0, WIDTH - 30.0, 26.0);
    let count: usize = parts.iter().map(|(_, lines)| lines.len()).sum();
    let height = 70.0 + count as f64 * step + parts.len() as f64 * 78.0;
    let mut svg = Svg::new(WIDTH, height);
    svg.legend(24.0, 24.0, &NAMES);
    let all = parts.iter().flat_map(|(_, lines)| lines).flat_map(|(_, ratios)| ratios);
    let mut numbers: Vec<f64> = all.map(|(_, ratio)| *ratio).collect();
    numbers.push(1.0);
    let scale = Log::over(&numbers, left, right);
    let mut y = 70.0;
    for (backend, lines) in parts {
        svg.text(24.0, y, Anchor::Start, 15.0, "bold", backend.title());
        let (top, bottom) = (y + 12.0, y + 12.0 + lines.len() as f64 * step);
        for ratio in scale.ticks() {
            let x = scale.at(ratio);
            svg.grid((x, top), (x, bottom));
            svg.label(x, bottom + 17.0, Anchor::Middle, &format!("{}×", tick(ratio)));
        }
        svg.line((scale.at(1.0), top), (scale.at(1.0), bottom), INK, 1.5);
        for (at, (name, ratios)) in lines.iter().enumerate() {
            let middle = top + (at as f64 + 0.5) * step;
            svg.label(left - 16.0, middle + 4.0, Anchor::End, name);
            draw_line(&mut svg, scale, middle, ratios);
        }
        y = bottom + 66.0;
    }
    let note = "time per operation as a multiple of the limit, less is better; scale: equal distances are equal ratios";
    svg.label(24.0, height - 14.0, Anchor::Start, note);
    svg.finish()
}

/// The store's mark last, so that nothing covers it.
fn draw_line(svg: &mut Svg, scale: Log, y: f64, ratios: &[(Who, f64)]) {
    let places = ratios.iter().map(|(_, ratio)| scale.at(*ratio));
    let (first, last) = places.fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(x), high.max(x)));
    if first < last {
        svg.grid((first, y), (last, y));
    }
    let is_store = |who: Who| who == Who::Undercroft;
    for (who, ratio) in ratios.iter().filter(|(who, _)| !is_store(*who)) {
        svg.mark(scale.at(*ratio), y, *who);
    }
    for (who, ratio) in ratios.iter().filter(|(who, _)| is_store(*who)) {
        svg.mark(scale.at(*ratio), y, *who);
    }
}

fn lines(results: &Results, backend: Backend) -> Vec<Line> {
    let shown = SHOWN.into_iter().filter_map(|(work, tasks)| {
        let measured = results.at_middle(backend, work, tasks)?;
        let ratios: Vec<(Who, f64)> = NAMES
            .into_iter()
            .filter_map(|(who, _)| Some((who, measured.against_limit(meant(measured, who)?)?.median)))
            .collect();
        let tasks = if tasks == 1 {
            "1 task".to_owned()
        } else {
            format!("{tasks} tasks")
        };
        Some((format!("{}, {tasks}", short(work)), ratios))
    });
    shown.filter(|(_, ratios)| !ratios.is_empty()).collect()
}

/// Whose numbers are drawn under a name: the limit's are those of the better one.
fn meant(measured: &Measured, who: Who) -> Option<Who> {
    match who {
        Who::Limit => measured.limit(),
        who => Some(who),
    }
}

fn short(work: Work) -> &'static str {
    match work {
        Work::Insert => "durable insert (audit entry)",
        Work::Create => "durable insert (bot)",
        Work::Transaction => "transaction",
        Work::PageDeep => "page at depth 100,000",
        Work::Page => "first page",
        other => other.title(),
    }
}

/// One small picture among several: its title and everybody's line.
struct Panel {
    title: String,
    lines: Vec<(Who, Vec<(f64, f64)>)>,
}

/// What the second and the third picture show.
const PANELS: [(Backend, Work); 4] = [
    (Backend::Sqlite, Work::ReadKey),
    (Backend::Sqlite, Work::Insert),
    (Backend::Postgres, Work::ReadKey),
    (Backend::Postgres, Work::Insert),
];

/// Cost against the number of rows: reads by one task, inserts by the most.
pub(super) fn sizes(results: &Results) -> String {
    let panels = PANELS.map(|(backend, work)| {
        let tasks = if work == Work::Insert {
            most_tasks(results, backend, work)
        } else {
            1
        };
        let cells = results.cells.iter().filter(|it| {
            let cell = it.cell;
            (cell.backend, cell.work, cell.tasks) == (backend, work, tasks)
        });
        let word = if tasks == 1 { "task" } else { "tasks" };
        Panel {
            title: format!("{}, {}, {tasks} {word}", backend.title(), short(work)),
            lines: curves(cells.collect(), |it| it.cell.rows as f64, |micros| micros),
        }
    });
    multiples(&panels, "rows in the table", "µs per operation, less is better")
}

/// Throughput against the number of tasks, in the table of middle size.
pub(super) fn tasks(results: &Results) -> String {
    let panels = PANELS.map(|(backend, work)| {
        let rows = results
            .at_middle(backend, work, most_tasks(results, backend, work))
            .map_or(0, |it| it.cell.rows);
        let cells = results.cells.iter().filter(|it| {
            let cell = it.cell;
            (cell.backend, cell.work, cell.rows) == (backend, work, rows)
        });
        let size = if rows > 0 {
            format!(", {} rows", tick(rows as f64))
        } else {
            String::new()
        };
        Panel {
            title: format!("{}, {}{size}", backend.title(), short(work)),
            lines: curves(cells.collect(), |it| it.cell.tasks as f64, |micros| 1e6 / micros),
        }
    });
    multiples(&panels, "tasks at once", "operations per second, more is better")
}

fn most_tasks(results: &Results, backend: Backend, work: Work) -> usize {
    let of_work = results
        .cells
        .iter()
        .filter(|it| (it.cell.backend, it.cell.work) == (backend, work));
    of_work.map(|it| it.cell.tasks).max().unwrap_or(1)
}

fn curves(cells: Vec<&Measured>, x: impl Fn(&Measured) -> f64, y: impl Fn(f64) -> f64) -> Vec<(Who, Vec<(f64, f64)>)> {
    let curve = |who: Who| {
        let points = cells
            .iter()
            .filter_map(|it| Some((x(it), y(it.run(meant(it, who)?)?.micros()?.median))));
        let mut points: Vec<(f64, f64)> = points.collect();
        points.sort_by(|one, other| one.0.total_cmp(&other.0));
        points
    };
    // Who was measured at one place only has no line to draw.
    let shown = NAMES.into_iter().map(|(who, _)| (who, curve(who)));
    shown
        .filter(|(who, points)| !points.is_empty() && *who != Who::Held)
        .collect()
}

/// Panels side by side, two in a row.
fn multiples(panels: &[Panel; 4], x_name: &str, y_name: &str) -> String {
    let (width, height, top) = (WIDTH / 2.0, 290.0, 56.0);
    let mut svg = Svg::new(WIDTH, top + 2.0 * height);
    let names: Vec<(Who, &str)> = NAMES.into_iter().filter(|(who, _)| *who != Who::Held).collect();
    svg.legend(24.0, 24.0, &names);
    for (at, panel) in panels.iter().enumerate() {
        let (x, y) = ((at % 2) as f64 * width, top + (at / 2) as f64 * height);
        draw_panel(
            &mut svg,
            panel,
            (x + 62.0, y + 44.0),
            (x + width - 24.0, y + height - 50.0),
        );
        svg.text(x + 24.0, y + 14.0, Anchor::Start, 14.0, "bold", &panel.title);
        svg.text(x + 24.0, y + 31.0, Anchor::Start, 11.0, "normal", y_name);
        svg.text(x + width - 24.0, y + height - 16.0, Anchor::End, 11.0, "normal", x_name);
    }
    svg.finish()
}

fn draw_panel(svg: &mut Svg, panel: &Panel, (left, top): (f64, f64), (right, bottom): (f64, f64)) {
    let points = || panel.lines.iter().flat_map(|(_, points)| points);
    let xs: Vec<f64> = points().map(|(x, _)| *x).collect();
    let ys: Vec<f64> = points().map(|(_, y)| *y).collect();
    if xs.is_empty() {
        svg.label(
            f64::midpoint(left, right),
            f64::midpoint(top, bottom),
            Anchor::Middle,
            "not measured",
        );
        return;
    }
    let (across, up) = (Log::over(&xs, left, right), Log::over(&ys, bottom, top));
    for value in up.ticks() {
        svg.grid((left, up.at(value)), (right, up.at(value)));
        svg.label(left - 8.0, up.at(value) + 4.0, Anchor::End, &tick(value));
    }
    let mut places = xs;
    places.sort_by(f64::total_cmp);
    places.dedup();
    for value in places {
        svg.grid((across.at(value), top), (across.at(value), bottom));
        svg.label(across.at(value), bottom + 17.0, Anchor::Middle, &tick(value));
    }
    let (store, others): (Vec<_>, Vec<_>) = panel.lines.iter().partition(|(who, _)| *who == Who::Undercroft);
    for (who, points) in others.into_iter().chain(store) {
        let places: Vec<(f64, f64)> = points.iter().map(|(x, y)| (across.at(*x), up.at(*y))).collect();
        svg.path(&places, *who);
        for (x, y) in places {
            svg.mark(x, y, *who);
        }
    }
}
