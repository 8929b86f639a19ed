//! From the files of a repository to those of a site: Markdown becomes HTML, all else stays as it is.

use anyhow::{Context, Result, bail};
use percent_encoding::{percent_decode_str, utf8_percent_encode};
use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd, html};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::bucket::IN_PATHS;

const EXTENSIONS: Options = Options::ENABLE_TABLES
    .union(Options::ENABLE_FOOTNOTES)
    .union(Options::ENABLE_STRIKETHROUGH)
    .union(Options::ENABLE_TASKLISTS)
    .union(Options::ENABLE_YAML_STYLE_METADATA_BLOCKS);

/// A folder, and what is to become of each file in it. Paths are relative to it, with `/` between their parts.
pub(crate) struct Site {
    folder: PathBuf,
    /// From a file's path to its path in the site.
    files: BTreeMap<String, String>,
}

impl Site {
    /// Looks through the folder. What is hidden, such as `.github`, is no part of the site.
    ///
    /// # Errors
    ///
    /// The folder cannot be read, or two of its files would become the same one.
    pub(crate) fn read(folder: PathBuf) -> Result<Self> {
        let mut paths = BTreeSet::new();
        collect(&folder, "", &mut paths)?;
        let mut sources = BTreeMap::new();
        for path in &paths {
            let target = target(path, &paths);
            if let Some(other) = sources.insert(target.clone(), path.clone()) {
                bail!("`{other}` and `{path}` would both become `{target}`");
            }
        }
        let files = sources.into_iter().map(|(target, path)| (path, target)).collect();
        Ok(Self { folder, files })
    }

    /// The files, as pairs of a path in the folder and one in the site.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(path, target)| (path.as_str(), target.as_str()))
    }

    /// What the site has for the file at `path`: its bytes, or the page it becomes.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub(crate) fn content(&self, path: &str) -> Result<Vec<u8>> {
        let content = fs::read(self.folder.join(path)).with_context(|| format!("cannot read `{path}`"))?;
        if stem(path).is_none() {
            return Ok(content);
        }
        Ok(self.render(path, &String::from_utf8_lossy(&content)).into_bytes())
    }

    fn render(&self, path: &str, markdown: &str) -> String {
        let events: Vec<Event<'_>> = Parser::new_ext(markdown, EXTENSIONS)
            .map(|mut event| {
                if let Event::Start(Tag::Link { dest_url, .. }) = &mut event
                    && let Some(link) = self.link(path, dest_url)
                {
                    *dest_url = CowStr::from(link);
                }
                event
            })
            .collect();
        let title = first_heading(&events).unwrap_or_else(|| path.to_owned());
        let mut title_html = String::new();
        html::push_html(&mut title_html, [Event::Text(title.into())].into_iter());
        let mut content = String::new();
        html::push_html(&mut content, events.into_iter());
        format!(
            r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title_html}</title>
<style>body {{ max-width: 45rem; margin: 2rem auto; padding: 0 1rem; font: 1rem/1.5 sans-serif }}</style>
{content}</html>
"#
        )
    }

    /// What a link in the page at `path` has to be in the site, if it leads to another page.
    fn link(&self, path: &str, link: &str) -> Option<String> {
        let end = link.find(['#', '?']).unwrap_or(link.len());
        let (file, rest) = link.split_at(end);
        stem(file)?;
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let target = self
            .files
            .get(&join(folder, &percent_decode_str(file).decode_utf8().ok()?)?)?;
        let name = target.rsplit_once('/').map_or(target.as_str(), |(_, name)| name);
        let way = &file[..file.rfind('/').map_or(0, |slash| slash + 1)];
        Some(format!("{way}{}{rest}", utf8_percent_encode(name, IN_PATHS)))
    }
}

fn collect(folder: &Path, prefix: &str, paths: &mut BTreeSet<String>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_str().context("a name in the site is not UTF-8")?;
        if name.starts_with('.') {
            continue;
        }
        let path = format!("{prefix}{name}");
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &format!("{path}/"), paths)?;
        } else {
            paths.insert(path);
        }
    }
    Ok(())
}

/// Where the file goes: `a.md` becomes `a.html`, and a README the index of its folder unless there is one.
fn target(path: &str, paths: &BTreeSet<String>) -> String {
    let Some(stem) = stem(path) else { return path.to_owned() };
    let (folder, name) = stem.split_at(stem.rfind('/').map_or(0, |slash| slash + 1));
    let has_index = || {
        ["md", "markdown", "html"]
            .iter()
            .any(|extension| paths.contains(&format!("{folder}index.{extension}")))
    };
    if name.eq_ignore_ascii_case("readme") && !has_index() {
        return format!("{folder}index.html");
    }
    format!("{stem}.html")
}

/// The path of a Markdown file without its extension.
fn stem(path: &str) -> Option<&str> {
    path.strip_suffix(".md").or_else(|| path.strip_suffix(".markdown"))
}

/// The path that a relative one means in `folder`; none if that is outside of the site.
fn join(folder: &str, relative: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in relative.split('/') {
        match part {
            "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

fn first_heading(events: &[Event<'_>]) -> Option<String> {
    let start = events
        .iter()
        .position(|event| matches!(event, Event::Start(Tag::Heading { .. })))?;
    let heading = events[start..]
        .iter()
        .take_while(|event| !matches!(event, Event::End(TagEnd::Heading(_))));
    let text = heading.filter_map(|event| {
        if let Event::Text(text) | Event::Code(text) = event {
            Some(&**text)
        } else {
            None
        }
    });
    Some(text.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(files: &[(&str, &str)]) -> (tempfile::TempDir, Result<Site>) {
        let folder = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let site = Site::read(folder.path().to_owned());
        (folder, site)
    }

    fn page(files: &[(&str, &str)], path: &str) -> String {
        let (_folder, site) = site(files);
        String::from_utf8(site.unwrap().content(path).unwrap()).unwrap()
    }

    #[test]
    fn pages_become_html_and_the_rest_stays() {
        let (_folder, site) = site(&[
            ("README.md", ""),
            ("a/index.md", ""),
            ("a/README.md", ""),
            ("a/b.markdown", ""),
            ("a/b.txt", ""),
            (".github/c.md", ""),
            ("a/.d", ""),
        ]);
        let site = site.unwrap();
        let targets: Vec<&str> = site.files().map(|(_, target)| target).collect();
        assert_eq!(
            targets,
            ["index.html", "a/README.html", "a/b.html", "a/b.txt", "a/index.html"]
        );
    }

    #[test]
    fn two_files_of_one_name_are_refused() {
        let (_folder, site) = site(&[("a.md", ""), ("a.html", "")]);
        assert_eq!(
            site.err().unwrap().to_string(),
            "`a.html` and `a.md` would both become `a.html`"
        );
    }

    #[test]
    fn links_between_pages_lead_to_pages() {
        let files = [
            ("README.md", ""),
            ("a/two words.md", ""),
            (
                "a/b.md",
                "[1](../README.md) [2](two%20words.md?x#y) [3](./b.md) [4](c.md) [5](//e.org/b.md) [6](../../b.md)",
            ),
        ];
        let page = page(&files, "a/b.md");
        let links: Vec<&str> = page
            .split("href=\"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .collect();
        let expected = [
            "../index.html",
            "two%20words.html?x#y",
            "./b.html",
            "c.md",
            "//e.org/b.md",
            "../../b.md",
        ];
        assert_eq!(links, expected);
    }

    #[test]
    fn the_first_heading_is_the_title() {
        let titled = page(
            &[("a.md", "---\nlayout: x\n---\ntext\n\n## A `b` & *c*\n\n# D")],
            "a.md",
        );
        assert!(titled.contains("<title>A b &amp; c</title>"), "{titled}");
        assert!(!titled.contains("layout"), "{titled}");
        assert!(page(&[("e.md", "text")], "e.md").contains("<title>e.md</title>"));
    }

    #[test]
    fn a_file_that_is_no_page_stays_as_it_is() {
        assert_eq!(page(&[("a.txt", "# a")], "a.txt"), "# a");
    }
}
