//! A small site with a form, cookies, a redirect and an image: a plain `wasi:http` component.
//!
//! Nothing in it knows of Lambda. The visitor's cookies are all the memory there is, because an instance lives for one
//! request. Links are relative, so the site works below any path.

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use wstd::http::{Body, Error, HeaderMap, Method, Request, Response, StatusCode};

const SHIP: &[u8] = include_bytes!("ship.png");

/// In characters, as in the form's `maxlength`.
const LONGEST_NAME: usize = 40;

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let (head, mut body) = request.into_parts();
    let visitor = Visitor::from_cookies(&head.headers);
    let response = route(&head.method, head.uri.path(), &visitor, body.contents().await?)?;
    Ok(response.map(Body::from))
}

fn route(method: &Method, path: &str, visitor: &Visitor, body: &[u8]) -> Result<Response<Vec<u8>>, Error> {
    match (path, method) {
        ("/", &Method::GET | &Method::HEAD) => home(visitor),
        ("/ship.png", &Method::GET | &Method::HEAD) => Ok(Response::builder()
            .header("content-type", "image/png")
            .header("cache-control", "public, max-age=86400")
            .body(SHIP.to_vec())?),
        ("/sign-on", &Method::POST) => sign_on(body),
        ("/leave", &Method::POST) => Ok(see_home()
            .header("set-cookie", "name=; Path=/; Max-Age=0")
            .header("set-cookie", "visits=; Path=/; Max-Age=0")
            .body(Vec::new())?),
        ("/" | "/ship.png", _) => not_allowed("GET, HEAD"),
        ("/sign-on" | "/leave", _) => not_allowed("POST"),
        _ => plain(StatusCode::NOT_FOUND, "There is no such page."),
    }
}

/// Who asks, as far as the cookies tell.
#[derive(Default)]
struct Visitor {
    name: Option<String>,
    /// How many pages they have seen.
    visits: u32,
}

impl Visitor {
    /// What a browser sends back is not to be trusted: it is whatever a visitor has made of it.
    fn from_cookies(headers: &HeaderMap) -> Self {
        let mut visitor = Self::default();
        let lines = headers
            .get_all("cookie")
            .into_iter()
            .filter_map(|line| line.to_str().ok());
        for (name, value) in lines
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.split_once('='))
        {
            match name.trim() {
                "name" => visitor.name = percent_decode_str(value).decode_utf8().ok().map(Into::into),
                "visits" => visitor.visits = value.parse().unwrap_or_default(),
                _ => {}
            }
        }
        visitor
    }
}

fn home(visitor: &Visitor) -> Result<Response<Vec<u8>>, Error> {
    let visits = visitor.visits.saturating_add(1);
    let content = match &visitor.name {
        Some(name) => format!(
            r#"<p>Welcome aboard, {}. This is page {visits} of your log.</p>
<form method="post" action="leave"><button>Leave</button></form>"#,
            escape(name)
        ),
        None => format!(
            r#"<form method="post" action="sign-on">
<label>Your name <input name="name" maxlength="{LONGEST_NAME}" required></label>
<button>Sign on</button>
</form>"#
        ),
    };
    let page = format!(
        r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>The orlop deck</title>
<link rel="icon" href="ship.png">
<h1><img src="ship.png" alt="A ship" width="64" height="64" style="image-rendering: pixelated"> The orlop deck</h1>
{content}
</html>
"#
    );
    Ok(Response::builder()
        .header("content-type", "text/html; charset=utf-8")
        .header("set-cookie", format!("visits={visits}; Path=/; HttpOnly; SameSite=Lax"))
        .body(page.into_bytes())?)
}

fn sign_on(body: &[u8]) -> Result<Response<Vec<u8>>, Error> {
    let name = form_urlencoded::parse(body).find(|(field, _)| field == "name");
    let name = name.map(|(_, name)| name.trim().to_owned()).unwrap_or_default();
    if name.is_empty() || name.chars().count() > LONGEST_NAME {
        let message = format!("A name has 1 to {LONGEST_NAME} characters.");
        return plain(StatusCode::BAD_REQUEST, &message);
    }
    let name = utf8_percent_encode(&name, NON_ALPHANUMERIC);
    Ok(see_home()
        .header("set-cookie", format!("name={name}; Path=/; HttpOnly; SameSite=Lax"))
        .header("set-cookie", "visits=0; Path=/; HttpOnly; SameSite=Lax")
        .body(Vec::new())?)
}

/// After a form the browser fetches a page, so that reloading it sends nothing again.
fn see_home() -> wstd::http::response::Builder {
    Response::builder()
        .status(StatusCode::SEE_OTHER)
        .header("location", "./")
}

fn not_allowed(allowed: &str) -> Result<Response<Vec<u8>>, Error> {
    let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "That cannot be done here.")?;
    response.headers_mut().insert("allow", allowed.parse()?);
    Ok(response)
}

fn plain(status: StatusCode, message: &str) -> Result<Response<Vec<u8>>, Error> {
    Ok(Response::builder()
        .status(status)
        .header("content-type", "text/plain; charset=utf-8")
        .body(format!("{message}\n").into_bytes())?)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visitor(cookie: &'static str) -> Visitor {
        Visitor::from_cookies(&HeaderMap::from_iter([(
            "cookie".parse().unwrap(),
            cookie.parse().unwrap(),
        )]))
    }

    fn page(cookie: &'static str) -> String {
        let response = route(&Method::GET, "/", &visitor(cookie), b"").unwrap();
        String::from_utf8(response.into_body()).unwrap()
    }

    #[test]
    fn a_name_survives_the_way_through_form_and_cookie() {
        let response = route(
            &Method::POST,
            "/sign-on",
            &Visitor::default(),
            b"name=+Zo%C3%AB+%3B+%22%3D%22+",
        )
        .unwrap();
        assert_eq!(response.status(), StatusCode::SEE_OTHER);
        assert_eq!(response.headers()["location"], "./");
        let cookie = response.headers()["set-cookie"].to_str().unwrap();
        let cookie = cookie.split(';').next().unwrap().parse().unwrap();
        let visitor = Visitor::from_cookies(&HeaderMap::from_iter([("cookie".parse().unwrap(), cookie)]));
        assert_eq!(visitor.name.as_deref(), Some("Zoë ; \"=\""));
    }

    #[test]
    fn a_name_cannot_bring_markup_along() {
        assert!(page("name=%3Cscript%3E").contains("Welcome aboard, &lt;script&gt;."));
    }

    #[test]
    fn pages_are_counted_and_nonsense_counts_as_none() {
        assert!(page("a=b; visits=2; name=Ada").contains("This is page 3 of your log"));
        assert!(page("name=Ada; visits=many").contains("This is page 1 of your log"));
        assert!(page("name=Ada; visits=4294967295").contains("This is page 4294967295 of your log"));
    }

    #[test]
    fn a_name_is_neither_empty_nor_endless() {
        for body in [
            &b""[..],
            b"name=++",
            b"other=Ada",
            &[b"name=", &[b'a'; 41][..]].concat(),
        ] {
            let response = route(&Method::POST, "/sign-on", &Visitor::default(), body).unwrap();
            assert_eq!(
                response.status(),
                StatusCode::BAD_REQUEST,
                "{}",
                String::from_utf8_lossy(body)
            );
        }
    }

    #[test]
    fn a_wrong_method_is_told_the_right_one() {
        let response = route(&Method::DELETE, "/", &Visitor::default(), b"").unwrap();
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(response.headers()["allow"], "GET, HEAD");
    }
}
