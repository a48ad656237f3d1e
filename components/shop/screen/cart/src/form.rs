//! What a posted form asks of the cart. It does not ask whether the product exists.

use std::collections::BTreeMap;

pub enum Change {
    Add { product: String, amount: u32 },
    Remove { product: String },
    Clear,
}

/// `do=add&product=mug&amount=2`, `do=remove&product=mug` or `do=clear`; without an amount it is one piece.
pub fn read(body: &[u8]) -> Option<Change> {
    let mut fields: BTreeMap<String, String> = form_urlencoded::parse(body).into_owned().collect();
    let amount = fields
        .remove("amount")
        .map_or(Some(1), |amount| amount.parse().ok());
    let product = fields.remove("product");
    match fields.remove("do")?.as_str() {
        "add" => Some(Change::Add {
            product: product?,
            amount: amount?,
        }),
        "remove" => Some(Change::Remove { product: product? }),
        "clear" => Some(Change::Clear),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_or_refused_as_a_whole() {
        let check = |body: &str, expect: &str| {
            let got = match read(body.as_bytes()) {
                Some(Change::Add { product, amount }) => format!("add {amount} {product}"),
                Some(Change::Remove { product }) => format!("remove {product}"),
                Some(Change::Clear) => "clear".into(),
                None => "refused".into(),
            };
            assert_eq!(got, expect, "{body}");
        };
        check("do=add&product=mug", "add 1 mug");
        check("do=add&product=a%20b%26c&amount=20", "add 20 a b&c");
        check("do=remove&product=mug", "remove mug");
        check("do=clear", "clear");
        check("do=add", "refused");
        check("do=add&product=mug&amount=-1", "refused");
        check("do=add&product=mug&amount=99999999999", "refused");
        check("do=buy&product=mug", "refused");
        check("", "refused");
        check("%ff&&&=", "refused");
    }
}
