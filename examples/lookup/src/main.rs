//! Looks articles up in a price list of 50,000 lines, which is read once: when the component is built with `--snapshot`.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use orlop_sdk::{Error, handler};
use serde::{Deserialize, Serialize};

/// The list as a text, written by `build.rs`.
const LIST: &str = include_str!(concat!(env!("OUT_DIR"), "/articles.csv"));

/// The list as it is used, with the text's own strings, so that the snapshot has them once. Not a `HashMap`, whose random seed
/// would be the same in every sandbox.
static ARTICLES: OnceLock<BTreeMap<&str, Article>> = OnceLock::new();

struct Article {
    name: &'static str,
    cents: u64,
}

#[derive(Deserialize)]
struct Order {
    articles: Vec<String>,
}

#[derive(Serialize)]
struct Offer {
    lines: Vec<Line>,
    total_cents: u64,
}

#[derive(Serialize)]
struct Line {
    article: String,
    name: &'static str,
    cents: u64,
}

#[handler(init = read_list)]
fn offer(order: Order) -> Result<Offer, Error> {
    let articles = ARTICLES.get().expect("`init` comes before the first event");
    let mut lines = Vec::with_capacity(order.articles.len());
    for article in order.articles {
        let Some(Article { name, cents }) = articles.get(article.as_str()) else {
            return Err(Error::new("UnknownArticle", format!("there is no article {article}")));
        };
        lines.push(Line {
            article,
            name,
            cents: *cents,
        });
    }
    let total_cents = lines.iter().map(|line| line.cents).sum();
    Ok(Offer { lines, total_cents })
}

fn read_list() -> Result<(), Error> {
    let articles: BTreeMap<_, _> = LIST.lines().skip(1).map(parse).collect::<Result<_, _>>()?;
    ARTICLES.get_or_init(|| articles);
    Ok(())
}

fn parse(line: &'static str) -> Result<(&'static str, Article), Error> {
    let malformed = || Error::message(format!("the price list has a malformed line: {line}"));
    let [number, name, cents] = line.split(',').collect::<Vec<_>>()[..] else {
        return Err(malformed());
    };
    let article = Article {
        name,
        cents: cents.parse().map_err(|_| malformed())?,
    };
    Ok((number, article))
}
