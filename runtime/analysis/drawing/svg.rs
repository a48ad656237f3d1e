//! The graph as a picture: groups as frames, pages on the left, what they import to their right, each
//! interface a port that its importers' lines run to. Readable in light and dark.

use std::fmt::Write;

use super::{
    by_package, handler,
    layout::{Layout, Line, Link, Unit, lay_out},
    or, packages_in_words,
    stacks::{Block, blocks},
};
use crate::analysis::{GroupSurface, Member, Surface};

/// Of a monospaced font of 12 and of 10 pixels.
const WIDE: f64 = 7.3;
const NARROW: f64 = 6.1;
const PADDING: f64 = 10.0;
const TITLE: f64 = 26.0;
const ROW: f64 = 16.0;
const CELL: f64 = 20.0;
const FRAME: f64 = 24.0;
const HEAD: f64 = 34.0;
/// How wide groups stand side by side before the next row begins.
const WIDTH: f64 = 1400.0;
/// Members of a stack below each other.
const STACKED: usize = 15;

const STYLE: &str = "\
text{font-family:ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;font-size:12px;fill:#1b2430}\
.small{font-size:10px;fill:#5b6675}.head{font-size:14px;font-weight:bold}.wrong{fill:#b3261e}\
.paper{fill:#ffffff}.group{fill:#f4f6f9;stroke:#d5dbe3}\
.library{fill:#ffffff;stroke:#8a94a3}.page{fill:#e1edff;stroke:#2f6fd0}\
.line{fill:none;stroke-width:1.3}.line-of:hover .line{stroke-width:3}\
.c0{stroke:#2563c4}.c1{stroke:#c2410c}.c2{stroke:#15803d}.c3{stroke:#8b2fc9}\
.c4{stroke:#a16207}.c5{stroke:#0e7490}.c6{stroke:#be185d}.c7{stroke:#57606a}\
.port.c0{fill:#2563c4}.port.c1{fill:#c2410c}.port.c2{fill:#15803d}.port.c3{fill:#8b2fc9}\
.port.c4{fill:#a16207}.port.c5{fill:#0e7490}.port.c6{fill:#be185d}.port.c7{fill:#57606a}\
@media (prefers-color-scheme:dark){text{fill:#e6eaf0}.small{fill:#a3aebc}.wrong{fill:#ff8a80}\
.paper{fill:#14181d}.group{fill:#1c2229;stroke:#353e49}.library{fill:#232a33;stroke:#6b7686}\
.page{fill:#1d3557;stroke:#6ea8fe}\
.c0{stroke:#6ea8fe}.c1{stroke:#fb923c}.c2{stroke:#4ade80}.c3{stroke:#c792f5}\
.c4{stroke:#facc15}.c5{stroke:#22d3ee}.c6{stroke:#f472b6}.c7{stroke:#a3aebc}\
.port.c0{fill:#6ea8fe}.port.c1{fill:#fb923c}.port.c2{fill:#4ade80}.port.c3{fill:#c792f5}\
.port.c4{fill:#facc15}.port.c5{fill:#22d3ee}.port.c6{fill:#f472b6}.port.c7{fill:#a3aebc}}";

/// Lines to different boxes have different colours, as far as there are any.
const COLOURS: usize = 8;

pub fn draw(surface: &Surface) -> String {
    let groups: Vec<Group<'_>> = surface.groups.iter().map(Group::new).collect();
    let (places, width, height) = shelves(&groups);
    let mut svg = String::new();
    let _ = write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\">\n<title>Components and their imports</title>\n\
         <style>{STYLE}</style>\n<rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n"
    );
    for (group, (x, y)) in groups.iter().zip(places) {
        group.draw(&mut svg, x, y);
    }
    svg + "</svg>\n"
}

/// Where each group's frame stands, and the size of all.
fn shelves(groups: &[Group<'_>]) -> (Vec<(f64, f64)>, f64, f64) {
    let (mut x, mut y, mut shelf, mut width) = (FRAME, FRAME, 0.0_f64, 0.0_f64);
    let mut places = Vec::new();
    for group in groups {
        let (wide, high) = group.size();
        if x > FRAME && x + wide > WIDTH {
            (x, y, shelf) = (FRAME, y + shelf + FRAME, 0.0);
        }
        places.push((x, y));
        x += wide + FRAME;
        shelf = shelf.max(high);
        width = width.max(x);
    }
    (places, width.max(2.0 * FRAME), y + shelf + FRAME)
}

struct Group<'a> {
    group: &'a GroupSurface,
    boxes: Vec<Drawn<'a>>,
    links: Vec<Link>,
    /// Who imports what from whom along each link, in words.
    words: Vec<String>,
    layout: Layout,
}

/// A block with its size.
struct Drawn<'a> {
    block: Block<'a>,
    unit: Unit,
    /// Below the title.
    note: String,
    /// Of a stack.
    columns: usize,
    cell: f64,
}

impl<'a> Group<'a> {
    fn new(group: &'a GroupSurface) -> Self {
        let boxes: Vec<_> = blocks(group).into_iter().map(Drawn::new).collect();
        let (mut links, mut words) = (Vec::new(), Vec::new());
        for (from, drawn) in boxes.iter().enumerate() {
            // All members of a block import the same.
            let (id, member) = drawn.block.members[0];
            for edge in &member.edges {
                let target = boxes
                    .iter()
                    .position(|drawn| drawn.block.members[0].0 == &edge.exporter);
                let Some(to) = target else { continue };
                let port = boxes[to].block.ports.iter().position(|port| *port == edge.export);
                let port = port.unwrap_or_default();
                links.push(Link {
                    from,
                    to,
                    port,
                    port_y: boxes[to].port_y(port),
                });
                let who = match drawn.block.members.len() {
                    1 => format!("{id} imports"),
                    many => format!("{many} components import"),
                };
                words.push(format!("{who} {} from {}", edge.import, edge.exporter));
            }
        }
        let units: Vec<Unit> = boxes.iter().map(|drawn| drawn.unit).collect();
        let layout = lay_out(&units, &links);
        Self {
            group,
            boxes,
            links,
            words,
            layout,
        }
    }

    fn size(&self) -> (f64, f64) {
        let title = self.title().chars().count() as f64 * (WIDE * 14.0 / 12.0);
        let width = self.layout.width.max(title);
        (width + 2.0 * FRAME, self.layout.height + HEAD + FRAME)
    }

    fn title(&self) -> String {
        let (all, pages) = (self.group.members.len(), self.group.pages().count());
        let libraries = match all - pages {
            1 => "1 library".to_owned(),
            libraries => format!("{libraries} libraries"),
        };
        let pages = if pages == 1 {
            "1 page".to_owned()
        } else {
            format!("{pages} pages")
        };
        format!("{}: {pages}, {libraries}", self.group.name)
    }

    fn draw(&self, svg: &mut String, x: f64, y: f64) {
        let (width, height) = self.size();
        let _ = writeln!(svg, "<g transform=\"translate({x:.0} {y:.0})\">");
        let _ = writeln!(
            svg,
            "<rect class=\"group\" width=\"{width:.0}\" height=\"{height:.0}\" rx=\"8\"/>"
        );
        let _ = writeln!(
            svg,
            "<text class=\"head\" x=\"{FRAME}\" y=\"22\">{}</text>",
            escaped(&self.title())
        );
        let _ = writeln!(svg, "<g transform=\"translate({FRAME} {HEAD})\">");
        for line in &self.layout.lines {
            self.draw_line(svg, line);
        }
        for (drawn, place) in self.boxes.iter().zip(&self.layout.units) {
            drawn.draw(svg, *place);
        }
        for Link { to, port_y, .. } in &self.links {
            let (x, y) = self.layout.units[*to];
            let (y, colour) = (y + port_y, self.colour(*to));
            let _ = writeln!(
                svg,
                "<circle class=\"port c{colour}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\"/>"
            );
        }
        svg.push_str("</g>\n</g>\n");
    }

    /// By the place among the boxes that lines run to.
    fn colour(&self, to: usize) -> usize {
        let before = self.boxes.iter().take(to);
        before.filter(|drawn| !drawn.block.ports.is_empty()).count() % COLOURS
    }

    fn draw_line(&self, svg: &mut String, Line { start, end, links }: &Line) {
        let ((x1, y1), (x2, y2)) = (*start, *end);
        let middle = f64::midpoint(x1, x2);
        // All of them run to one port.
        let colour = links.first().map_or(0, |link| self.colour(self.links[*link].to));
        let words: Vec<_> = links.iter().map(|link| self.words[*link].as_str()).collect();
        let _ = writeln!(
            svg,
            "<g class=\"line-of\"><title>{}</title><path class=\"line c{colour}\" \
             d=\"M{x1:.1} {y1:.1}C{middle:.1} {y1:.1} {middle:.1} {y2:.1} {x2:.1} {y2:.1}\"/></g>",
            escaped(&words.join("\n"))
        );
    }
}

impl<'a> Drawn<'a> {
    fn new(block: Block<'a>) -> Self {
        let (_, member) = block.members[0];
        let note = note(member);
        let titles = block.members.iter().map(|(id, _)| id.as_str().chars().count());
        let widest = titles.max().unwrap_or_default() as f64 * WIDE;
        let ports = block
            .ports
            .iter()
            .map(|port| port.chars().count())
            .max()
            .unwrap_or_default();
        let small = ports.max(note.chars().count()) as f64 * NARROW;
        let heading = heading(&block).chars().count() as f64 * WIDE;
        let least = small.max(heading) + 2.0 * PADDING;
        let noted = if note.is_empty() { 0.0 } else { ROW };
        let cell = widest + 2.0 * PADDING;
        let (columns, width, rows) = match block.members.len() {
            1 => (1, cell.max(least), block.ports.len() as f64 * ROW),
            many => {
                let columns = many.div_ceil(STACKED);
                let rows = many.div_ceil(columns);
                (columns, (columns as f64 * cell).max(least), rows as f64 * CELL)
            }
        };
        let height = TITLE + noted + rows + if rows > 0.0 { 6.0 } else { 0.0 };
        Self {
            block,
            unit: Unit { width, height },
            note,
            columns,
            cell,
        }
    }

    fn port_y(&self, port: usize) -> f64 {
        let noted = if self.note.is_empty() { 0.0 } else { ROW };
        TITLE + noted + port as f64 * ROW + ROW / 2.0 - 2.0
    }

    fn draw(&self, svg: &mut String, (x, y): (f64, f64)) {
        let Unit { width, height } = self.unit;
        let (id, member) = self.block.members[0];
        let class = if member.handler.is_some() {
            "page"
        } else {
            "library"
        };
        let many = self.block.members.len();
        let about = about(member);
        let about = if many == 1 {
            format!("{id}: {about}")
        } else {
            about
        };
        let _ = writeln!(
            svg,
            "<g transform=\"translate({x:.1} {y:.1})\"><title>{}</title>\
             <rect class=\"{class}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"5\"/>\
             <text x=\"{PADDING}\" y=\"17\">{}</text>",
            escaped(&about),
            escaped(&heading(&self.block))
        );
        let mut below = TITLE;
        if !self.note.is_empty() {
            let fits = member.missing.is_empty() && member.ambiguous.is_empty();
            let wrong = if fits { "" } else { " wrong" };
            let note = escaped(&self.note);
            let _ = writeln!(
                svg,
                "<text class=\"small{wrong}\" x=\"{PADDING}\" y=\"{:.1}\">{note}</text>",
                below + 6.0
            );
            below += ROW;
        }
        for (number, port) in self.block.ports.iter().enumerate() {
            let y = self.port_y(number) + 3.5;
            let _ = writeln!(
                svg,
                "<text class=\"small\" x=\"{PADDING}\" y=\"{y:.1}\">{}</text>",
                escaped(port)
            );
        }
        if many > 1 {
            let rows = many.div_ceil(self.columns);
            for (number, (id, _)) in self.block.members.iter().enumerate() {
                let x = (number / rows) as f64 * self.cell + PADDING;
                let y = below + (number % rows) as f64 * CELL + 12.0;
                let id = escaped(id.as_str());
                let _ = writeln!(
                    svg,
                    "<text x=\"{x:.1}\" y=\"{y:.1}\">{id}<title>{id}</title></text>"
                );
            }
        }
        svg.push_str("</g>\n");
    }
}

fn heading(block: &Block<'_>) -> String {
    match block.members.as_slice() {
        [(id, _)] => id.to_string(),
        many => format!("{} with the same imports", many.len()),
    }
}

/// What a box says of imports that no line shows.
fn note(member: &Member) -> String {
    const LONGEST: usize = 44;
    let names = |interfaces: &[String]| {
        let packages = by_package(interfaces);
        packages
            .keys()
            .map(|package| package.split('@').next().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    let ambiguous: Vec<_> = member
        .ambiguous
        .iter()
        .map(|(import, _)| import.as_str())
        .collect();
    let text = match (
        member.missing.as_slice(),
        ambiguous.as_slice(),
        member.host.as_slice(),
    ) {
        ([], [], []) => return String::new(),
        ([], [], host) => format!("host: {}", names(host).join(" ")),
        ([], ambiguous, _) => format!("ambiguous: {}", ambiguous.join(" ")),
        (missing, _, _) => format!("missing: {}", missing.join(" ")),
    };
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn about(member: &Member) -> String {
    let mut about = match handler(member) {
        Some(handler) => format!("a page, answers by {handler}"),
        None => "a library".to_owned(),
    };
    if !member.host.is_empty() {
        let _ = write!(about, "\nfrom the host: {}", packages_in_words(&member.host));
    }
    if !member.missing.is_empty() {
        let _ = write!(about, "\nfrom nobody: {}", member.missing.join(", "));
    }
    for (import, exporters) in &member.ambiguous {
        let _ = write!(about, "\n{import} from {}: nobody says which", or(exporters));
    }
    about
}

/// As XML text. Names come from binaries: control characters, which XML cannot have, are left out.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' => escaped.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {}
            c => escaped.push(c),
        }
    }
    escaped
}
