//! Writes the price list, which is too long to be kept with the sources: `articles.csv`, a line for each article.

use std::env;
use std::fmt::Write;
use std::fs;
use std::path::Path;

const ARTICLES: u32 = 50_000;
const THINGS: [&str; 8] = [
    "anchor", "block", "cleat", "fender", "hawser", "lantern", "oar", "shackle",
];
const MATERIALS: [&str; 5] = ["brass", "bronze", "hemp", "oak", "steel"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let mut list = String::from("article,name,cents\n");
    // The same list in every build: prices come from a generator that always begins alike.
    let mut state = 1_u32;
    for number in 0..ARTICLES {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let thing = THINGS[(number % 8) as usize];
        let material = MATERIALS[(number / 8 % 5) as usize];
        let cents = 50 + (state >> 8) % 99_950;
        writeln!(list, "A-{number:05},{thing} of {material} no. {number},{cents}").expect("a string takes any text");
    }
    let folder = env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    fs::write(Path::new(&folder).join("articles.csv"), list).expect("cargo's folder can be written");
}
