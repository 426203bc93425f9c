//! The figures as a picture: put on the left, get on the right, a line for each batch and one for bare reads and writes. It takes
//! the reader's light or dark.

use std::fmt::Write;

use super::report::{Figures, Report};
use crate::output::bytes;

/// The picture, and the two panels in it.
const WIDTH: f64 = 820.0;
const HEIGHT: f64 = 380.0;
const PANEL_WIDTH: f64 = 320.0;
const PANEL_HEIGHT: f64 = 220.0;
const PANEL_TOP: f64 = 100.0;
const PANEL_LEFTS: [f64; 2] = [62.0, 472.0];
/// Lines that the scale is cut into.
const STEPS: u32 = 5;
/// Colours of the batches: those of docs/throughput.svg, which the colour-blind can tell apart on light and on dark.
const COLOURS: [&str; 5] = ["#D55E00", "#0072B2", "#009E73", "#56B4E9", "#CC79A7"];
/// The colour of bare reads and writes.
const BARE: &str = "#808080";

/// One line of a panel: speeds by size, in GB/s.
struct Line {
    name: String,
    colour: &'static str,
    is_bare: bool,
    points: Vec<(usize, f64)>,
}

/// Draws it.
pub fn draw(report: &Report) -> String {
    let mut sizes: Vec<u64> = report.cells.iter().map(|cell| cell.object_bytes).collect();
    sizes.dedup();
    let mut svg = String::new();
    let _ = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         role=\"img\" aria-label=\"Throughput by object size\">\n<style>\n\
         .ground {{ fill: #ffffff }} text {{ fill: #222222; font-family: Helvetica, Arial, sans-serif }}\n\
         .axis {{ stroke: #222222 }} .grid {{ stroke: #dddddd }}\n\
         @media (prefers-color-scheme: dark) {{\n\
         .ground {{ fill: #0d1117 }} text {{ fill: #e6edf3 }} .axis {{ stroke: #e6edf3 }} .grid {{ stroke: #30363d }}\n\
         }}\n</style>\n<rect class=\"ground\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>"
    );
    text(&mut svg, (28.0, 30.0), 18, "start", "Throughput by object size");
    let subject = format!("{}; medians of {} rounds", report.subject(), report.rounds);
    text(&mut svg, (28.0, 50.0), 12, "start", &subject);
    let put = lines(report, &sizes, |cell| (cell.put_bytes_per_second, cell.bare_write_bytes_per_second));
    let get = lines(report, &sizes, |cell| (cell.get_bytes_per_second, cell.bare_read_bytes_per_second));
    legend(&mut svg, &put);
    // One scale for both, so that they can be compared.
    let top = scale(put.iter().chain(&get).flat_map(|line| line.points.iter().map(|point| point.1)));
    for ((name, lines), left) in [("put", &put), ("get", &get)].into_iter().zip(PANEL_LEFTS) {
        panel(&mut svg, left, name, lines, &sizes, top);
    }
    svg.push_str("</svg>\n");
    svg
}

fn lines(report: &Report, sizes: &[u64], speeds: impl Fn(&Figures) -> (f64, Option<f64>)) -> Vec<Line> {
    let place = |cell: &Figures| sizes.iter().position(|&size| size == cell.object_bytes).unwrap_or(0);
    let mut batches: Vec<u64> = report.cells.iter().map(|cell| cell.batch).collect();
    batches.sort_unstable();
    batches.dedup();
    let mut lines: Vec<Line> = batches
        .iter()
        .zip(COLOURS.iter().cycle())
        .map(|(&batch, colour)| {
            let cells = report.cells.iter().filter(|cell| cell.batch == batch);
            let points = cells.map(|cell| (place(cell), speeds(cell).0 / 1e9)).collect();
            let name =
                if batch == 1 { "one object at a time".to_owned() } else { format!("batches of {batch}") };
            Line { name, colour, is_bare: false, points }
        })
        .collect();
    // The best of those that were measured beside the batches of a size.
    let bare = |place_wanted: usize| {
        let cells = report.cells.iter().filter(|cell| place(cell) == place_wanted);
        cells.filter_map(|cell| speeds(cell).1).max_by(f64::total_cmp)
    };
    let points: Vec<_> =
        (0..sizes.len()).filter_map(|place| bare(place).map(|speed| (place, speed / 1e9))).collect();
    if !points.is_empty() {
        lines.push(Line { name: "bare".to_owned(), colour: BARE, is_bare: true, points });
    }
    lines
}

/// The top of the scale: the next of 1, 2 and 5 times a power of ten, so that its lines have round numbers.
fn scale(speeds: impl Iterator<Item = f64>) -> f64 {
    let most = speeds.fold(1e-6, f64::max);
    let power = 10f64.powf(most.log10().floor());
    [1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.5, 10.0]
        .map(|step| step * power)
        .into_iter()
        .find(|top| *top >= most)
        .unwrap_or(most)
}

fn text(svg: &mut String, (x, y): (f64, f64), size: u32, anchor: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let weight = if size > 12 { " font-weight=\"bold\"" } else { "" };
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size}\" text-anchor=\"{anchor}\"{weight}>{words}</text>"
    );
}

fn legend(svg: &mut String, lines: &[Line]) {
    let mut x = 28.0;
    for line in lines {
        let (dash, colour) = (dash(line), line.colour);
        let _ = writeln!(
            svg,
            "<line x1=\"{x}\" y1=\"70\" x2=\"{}\" y2=\"70\" stroke=\"{colour}\" stroke-width=\"2.5\"{dash}/>",
            x + 28.0
        );
        text(svg, (x + 36.0, 74.0), 12, "start", &line.name);
        x += 60.0 + 7.0 * line.name.chars().count() as f64;
    }
}

fn dash(line: &Line) -> &'static str {
    if line.is_bare { " stroke-dasharray=\"5 3\"" } else { "" }
}

fn panel(svg: &mut String, left: f64, name: &str, lines: &[Line], sizes: &[u64], top: f64) {
    let bottom = PANEL_TOP + PANEL_HEIGHT;
    text(svg, (left + PANEL_WIDTH / 2.0, PANEL_TOP - 6.0), 14, "middle", name);
    text(svg, (left - 34.0, PANEL_TOP - 10.0), 12, "start", "GB/s");
    for step in 0..=STEPS {
        let part = f64::from(step) / f64::from(STEPS);
        let y = bottom - PANEL_HEIGHT * part;
        let class = if step == 0 { "axis" } else { "grid" };
        let _ = writeln!(
            svg,
            "<line class=\"{class}\" x1=\"{left}\" y1=\"{y:.1}\" x2=\"{}\" y2=\"{y:.1}\"/>",
            left + PANEL_WIDTH
        );
        let number = format!("{:.2}", top * part);
        text(svg, (left - 6.0, y + 4.0), 11, "end", number.trim_end_matches('0').trim_end_matches('.'));
    }
    let x = |place: usize| left + PANEL_WIDTH * (place as f64 + 0.5) / sizes.len().max(1) as f64;
    for (place, &size) in sizes.iter().enumerate() {
        let label = bytes(size).replace(".00", "").replace(".0 ", " ");
        text(svg, (x(place), bottom + 18.0), 11, "middle", &label);
    }
    text(svg, (left + PANEL_WIDTH / 2.0, bottom + 36.0), 12, "middle", "object size");
    for line in lines {
        let y = |speed: f64| bottom - PANEL_HEIGHT * speed / top;
        let points: Vec<String> =
            line.points.iter().map(|&(place, speed)| format!("{:.1},{:.1}", x(place), y(speed))).collect();
        let (dash, colour) = (dash(line), line.colour);
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-linejoin=\"round\"{dash}/>",
            points.join(" ")
        );
        for &(place, speed) in &line.points {
            let (x, y) = (x(place), y(speed));
            let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
        }
    }
}
