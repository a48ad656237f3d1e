//! The frame's markup: one function for each thing on a page. Every text goes through `escape`,
//! except pictures, which are markup by contract.

use crate::Part;
use crate::exports::site::shop::layout::{Action, Badge, Bill, Card, Link, Row, Section};

const SHOP: &str = "Kiln & Kettle";
/// `shop/static/site.css`, swapped with the group.
const STYLE: &str = "/shop/static/site.css";

pub fn page<'a>(
    accent: &str,
    title: &str,
    menu: &[Link],
    sections: &[Section],
    parts: impl Iterator<Item = &'a Part>,
) -> String {
    let (title, shop) = (escape(title), escape(SHOP));
    let menu = all(menu, |link| format!("<li>{}</li>\n", self::link(link)));
    let sections = all(sections, section);
    let parts: String = parts.map(part).collect();
    format!(
        r##"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title} · {shop}</title>
<link rel="icon" href="data:,">
<style>:root {{ --accent: {accent}; }}</style>
<link rel="stylesheet" href="{STYLE}">
</head>
<body>
<a class="skip" href="#main">Skip to content</a>
<header>
<a class="brand" href="/">{LOGO}{shop}</a>
<nav aria-label="Main">
<ul>
{menu}</ul>
</nav>
</header>
<main id="main">
{sections}</main>
<footer>
<p>Put together, for this request, by these WebAssembly components:</p>
<dl class="versions">
{parts}</dl>
</footer>
</body>
</html>
"##
    )
}

const LOGO: &str = concat!(
    r#"<svg viewBox="0 0 32 32" aria-hidden="true"><rect width="32" height="32" rx="9"/>"#,
    r#"<path d="M8 13h13v5a6 6 0 0 1-6 6h-1a6 6 0 0 1-6-6zM21 14h2a3 3 0 0 1 0 6h-2"/>"#,
    r#"<path d="M12 10c-2-2 1-2 0-4m5 4c-2-2 1-2 0-4"/>"#,
    "</svg>",
);

fn section(section: &Section) -> String {
    match section {
        Section::Opening((heading, lead)) => {
            format!(
                "<div class=\"opening\">\n<h1>{}</h1>\n<p>{}</p>\n</div>\n",
                escape(heading),
                escape(lead)
            )
        }
        Section::Notice(notice) => format!(
            "<p class=\"notice\" role=\"status\">{}</p>\n",
            badge(notice, None)
        ),
        Section::Cards(cards) => {
            let cards = all(cards, |card| {
                format!("<li>{}</li>\n", self::card(card, "card", 2))
            });
            format!("<ul class=\"cards\">\n{cards}</ul>\n")
        }
        Section::Feature(card) => self::card(card, "card feature", 1),
        Section::Bill(bill) => self::bill(bill),
        Section::Links(links) => format!("<p class=\"links\">{}</p>\n", all(links, link)),
    }
}

fn card(card: &Card, class: &str, level: u8) -> String {
    let name = escape(&card.name);
    let heading = escape(&card.heading);
    let heading = match &card.href {
        Some(href) => format!(r#"<a href="{}">{heading}</a>"#, escape(href)),
        None => heading,
    };
    format!(
        r#"<article class="{class}" data-item="{name}">
<div class="picture">{picture}</div>
<div class="about">
<h{level}>{heading}</h{level}>
<p>{text}</p>
<p class="facts">{price} {badge}</p>
{action}</div>
</article>
"#,
        picture = card.picture,
        text = escape(&card.text),
        price = money(card.price),
        badge = badge(&card.badge, None),
        action = card
            .action
            .as_ref()
            .map(|action| self::action(action, "button"))
            .unwrap_or_default(),
    )
}

fn bill(bill: &Bill) -> String {
    format!(
        r#"<table class="bill">
<caption class="hidden">What is in the cart</caption>
<thead>
<tr>
<th scope="col">Item</th>
<th scope="col">Pieces</th>
<th scope="col">Price</th>
<th scope="col"><span class="hidden">Change</span></th>
</tr>
</thead>
<tbody>
{rows}</tbody>
<tfoot>
<tr>
<th scope="row">Total</th>
<td></td>
<td id="cart-total" data-cents="{cents}">{total}</td>
<td>{action}</td>
</tr>
</tfoot>
</table>
"#,
        rows = all(&bill.rows, row),
        cents = bill.total,
        total = money(bill.total),
        action = action(&bill.action, "button quiet"),
    )
}

fn row(row: &Row) -> String {
    format!(
        "<tr data-item=\"{name}\" data-amount=\"{amount}\"><th scope=\"row\"><a href=\"{href}\">{heading}</a></th>\
         <td>{amount}</td><td>{price}</td><td>{action}</td></tr>\n",
        name = escape(&row.name),
        amount = row.amount,
        href = escape(&row.href),
        heading = escape(&row.heading),
        price = money(row.price),
        action = action(&row.action, "button quiet"),
    )
}

fn action(action: &Action, class: &str) -> String {
    let fields = all(&action.fields, |(name, value)| {
        format!(
            r#"<input type="hidden" name="{}" value="{}">"#,
            escape(name),
            escape(value)
        )
    });
    let amount = action.amount.map(|amount| {
        format!(
            r#"<label>Pieces <input type="number" name="amount" value="{amount}" min="1" max="99" required></label>"#
        )
    });
    format!(
        r#"<form method="post" action="{href}">{fields}{amount}
<button type="submit" class="{class}">{label}<span class="hidden"> {hint}</span></button></form>
"#,
        href = escape(&action.href),
        amount = amount.unwrap_or_default(),
        label = escape(&action.label),
        hint = escape(&action.hint),
    )
}

fn link(link: &Link) -> String {
    let current = if link.current {
        r#" aria-current="page""#
    } else {
        ""
    };
    let badge = link
        .badge
        .as_ref()
        .map(|badge| format!(" {}", self::badge(badge, Some(&link.name))));
    format!(
        r#"<a href="{href}" data-link="{name}"{current}>{label}{badge}</a>"#,
        href = escape(&link.href),
        name = escape(&link.name),
        label = escape(&link.label),
        badge = badge.unwrap_or_default(),
    )
}

/// A count is the element `OWNER-count`, for scripts and tests.
fn badge(badge: &Badge, owner: Option<&str>) -> String {
    let (class, text) = match badge {
        Badge::Count(count) => {
            let id = owner
                .map(|owner| format!(r#" id="{}-count""#, escape(owner)))
                .unwrap_or_default();
            return format!(r#"<output class="badge count"{id} data-count="{count}">{count}</output>"#);
        }
        Badge::Good(text) => ("good", text),
        Badge::Warning(text) => ("warning", text),
        Badge::Quiet(text) => ("quiet", text),
    };
    format!(r#"<span class="badge {class}">{}</span>"#, escape(text))
}

fn part(part: &Part) -> String {
    let Part {
        component,
        version,
        calls,
    } = part;
    let (component, version) = (escape(component), escape(version));
    format!(
        "<div data-component=\"{component}\" data-version=\"{version}\" data-calls=\"{calls}\">\
         <dt>{component}</dt><dd>{version} <small>call {calls}</small></dd></div>\n"
    )
}

fn money(cents: u32) -> String {
    format!(
        r#"<span class="price">€{}.{:02}</span>"#,
        cents / 100,
        cents % 100
    )
}

fn all<T>(items: &[T], one: impl Fn(&T) -> String) -> String {
    items.iter().map(one).collect()
}

fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            _ => safe.push(char),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped_and_pictures_are_not() {
        let card = Card {
            name: "\"><script>".into(),
            heading: "R&D".into(),
            text: "<b>'</b>".into(),
            picture: "<svg></svg>".into(),
            price: 1205,
            href: Some("/items/\"".into()),
            badge: Badge::Quiet("<i>".into()),
            action: None,
        };
        let html = section(&Section::Feature(card));
        assert!(
            !html.contains("<script>") && !html.contains("<b>") && !html.contains("<i>"),
            "{html}"
        );
        for expect in [
            "R&amp;D",
            "&lt;b&gt;&#39;&lt;/b&gt;",
            "/items/&quot;",
            "<svg></svg>",
            "€12.05",
        ] {
            assert!(html.contains(expect), "{expect} is missing in {html}");
        }
    }
}
