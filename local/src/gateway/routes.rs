//! Routes of API Gateway: which one a request takes, and what stands in the places of its path.

use http::Method;

use super::request::decode;

/// A route. Without a method it takes any, without a path it is the one for what no other route takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Route {
    /// The methods; `None` is API Gateway's `ANY`.
    pub method: Option<Vec<Method>>,
    /// Such as `/orders/{id}` or `/files/{path+}`; `None` is any path, and without a method API Gateway's `$default`.
    pub path: Option<String>,
}

/// The routes of an API.
#[derive(Debug, Clone)]
pub(super) struct Routes(Vec<Pattern>);

/// The route that a request takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Match {
    /// The path as the route has it; `None` is `$default`.
    pub(super) path: Option<String>,
    /// The method as the route has it; `None` is `ANY`.
    pub(super) method: Option<Method>,
    /// What stands in the places of the path, without escapes.
    pub(super) parameters: Vec<(String, String)>,
}

#[derive(Debug, Clone)]
struct Pattern {
    methods: Option<Vec<Method>>,
    /// `None` is any path.
    path: Option<(String, Vec<Segment>)>,
}

#[derive(Debug, Clone)]
enum Segment {
    Literal(String),
    Place(String),
    Rest(String),
}

/// How closely a route fits, smaller is closer: for each segment 0 for a literal, 1 for a place, 2 for the rest; 3 for
/// any path.
type Fit = Vec<u8>;

impl Routes {
    /// No routes at all are one for everything.
    pub(super) fn new(routes: Vec<Route>) -> Self {
        let mut patterns: Vec<_> = routes.into_iter().map(Pattern::new).collect();
        if patterns.is_empty() {
            patterns.push(Pattern::new(Route::default()));
        }
        Self(patterns)
    }

    /// The route of an HTTP API: of those whose method and path fit, the one whose path fits closest, and of several
    /// for the same path one that names the method (API Gateway guide, "Create routes for HTTP APIs").
    pub(super) fn of_http_api(&self, method: &Method, path: &str) -> Option<Match> {
        let fitting = self.0.iter().filter_map(|pattern| {
            let chosen = pattern.method(method)?;
            let (fit, parameters) = pattern.fit(path)?;
            Some(((fit, chosen.is_none()), (pattern, chosen, parameters)))
        });
        let (_, (pattern, method, parameters)) = fitting.min_by(|(one, _), (other, _)| one.cmp(other))?;
        Some(pattern.matched(method, parameters))
    }

    /// The method of a REST API: the resource is chosen by the path alone, and has to have the method. A slash at the
    /// end of the path makes no difference.
    pub(super) fn of_rest_api(&self, method: &Method, path: &str) -> Option<Match> {
        let path = match path.strip_suffix('/') {
            None | Some("") => path,
            Some(path) => path,
        };
        let fitting = self.0.iter().filter_map(|pattern| {
            let (fit, parameters) = pattern.fit(path)?;
            let chosen = pattern.method(method);
            let rank = chosen.as_ref().map_or(2, |chosen| u8::from(chosen.is_none()));
            Some(((fit, rank), (pattern, chosen, parameters)))
        });
        let (_, (pattern, method, parameters)) = fitting.min_by(|(one, _), (other, _)| one.cmp(other))?;
        method.map(|method| pattern.matched(method, parameters))
    }
}

impl Pattern {
    fn new(Route { method, path }: Route) -> Self {
        let path = path.map(|path| {
            let segments = path.strip_prefix('/').unwrap_or(&path).split('/').map(Segment::new);
            (path.clone(), segments.collect())
        });
        Self { methods: method, path }
    }

    /// `None` if the method does not fit, `Some(None)` if any does.
    fn method(&self, method: &Method) -> Option<Option<Method>> {
        match &self.methods {
            None => Some(None),
            Some(methods) => methods.contains(method).then(|| Some(method.clone())),
        }
    }

    fn fit(&self, path: &str) -> Option<(Fit, Vec<(String, String)>)> {
        let Some((_, segments)) = &self.path else {
            return Some((vec![3], Vec::new()));
        };
        let (mut fit, mut parameters) = (Fit::new(), Vec::new());
        let mut rest = path.strip_prefix('/');
        for segment in segments {
            let left = rest?;
            let (given, after) = match left.split_once('/') {
                Some((given, after)) => (given, Some(after)),
                None => (left, None),
            };
            rest = after;
            match segment {
                Segment::Literal(literal) => {
                    if literal != given && *literal != decode(given) {
                        return None;
                    }
                    fit.push(0);
                }
                Segment::Place(name) => {
                    if given.is_empty() {
                        return None;
                    }
                    fit.push(1);
                    parameters.push((name.clone(), decode(given)));
                }
                Segment::Rest(name) => {
                    if left.is_empty() {
                        return None;
                    }
                    fit.push(2);
                    parameters.push((name.clone(), decode(left)));
                    rest = None;
                }
            }
        }
        rest.is_none().then_some((fit, parameters))
    }

    fn matched(&self, method: Option<Method>, parameters: Vec<(String, String)>) -> Match {
        Match {
            path: self.path.as_ref().map(|(path, _)| path.clone()),
            method,
            parameters,
        }
    }
}

impl Segment {
    fn new(segment: &str) -> Self {
        let place = segment.strip_prefix('{').and_then(|segment| segment.strip_suffix('}'));
        match place {
            None => Self::Literal(segment.to_owned()),
            Some(place) => match place.strip_suffix('+') {
                Some(name) => Self::Rest(name.to_owned()),
                None => Self::Place(place.to_owned()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(list: &[&str]) -> Routes {
        let routes = list.iter().map(|route| {
            let (method, path) = route.split_once(' ').unwrap();
            Route {
                method: (method != "ANY").then(|| method.split(',').map(|method| method.parse().unwrap()).collect()),
                path: (path != "*").then(|| path.to_owned()),
            }
        });
        Routes::new(routes.collect())
    }

    fn shown(found: Option<Match>) -> String {
        let Some(Match {
            path,
            method,
            parameters,
        }) = found
        else {
            return "none".to_owned();
        };
        let method = method.map_or("ANY".to_owned(), |method| method.to_string());
        let parameters: Vec<_> = parameters
            .iter()
            .map(|(name, value)| format!(" {name}={value}"))
            .collect();
        format!("{method} {}{}", path.as_deref().unwrap_or("*"), parameters.concat())
    }

    fn http(list: &[&str], method: &str, path: &str) -> String {
        shown(routes(list).of_http_api(&method.parse().unwrap(), path))
    }

    fn rest(list: &[&str], method: &str, path: &str) -> String {
        shown(routes(list).of_rest_api(&method.parse().unwrap(), path))
    }

    /// The example of the API Gateway guide.
    const PETS: [&str; 5] = [
        "ANY *",
        "ANY /{proxy+}",
        "GET /pets/{proxy+}",
        "GET /pets/dog/{id}",
        "GET /pets/dog/1",
    ];

    #[test]
    fn the_route_that_fits_closest_is_taken() {
        assert_eq!(http(&PETS, "GET", "/pets/dog/1"), "GET /pets/dog/1");
        assert_eq!(http(&PETS, "GET", "/pets/dog/2"), "GET /pets/dog/{id} id=2");
        assert_eq!(http(&PETS, "GET", "/pets/cat/1"), "GET /pets/{proxy+} proxy=cat/1");
        assert_eq!(http(&PETS, "POST", "/test/5"), "ANY /{proxy+} proxy=test/5");
        assert_eq!(http(&PETS, "GET", "/"), "ANY *");
    }

    #[test]
    fn a_route_that_names_the_method_goes_before_one_for_any() {
        let list = ["ANY /a", "GET,PUT /a"];
        assert_eq!(http(&list, "PUT", "/a"), "PUT /a");
        assert_eq!(http(&list, "POST", "/a"), "ANY /a");
        assert_eq!(rest(&list, "PUT", "/a"), "PUT /a");
        assert_eq!(rest(&list, "POST", "/a"), "ANY /a");
    }

    #[test]
    fn an_http_api_looks_for_another_route_that_has_the_method() {
        let list = ["GET /orders", "ANY /{proxy+}"];
        assert_eq!(http(&list, "POST", "/orders"), "ANY /{proxy+} proxy=orders");
        assert_eq!(http(&["GET /orders"], "POST", "/orders"), "none");
    }

    #[test]
    fn a_rest_api_chooses_the_resource_by_its_path_alone() {
        let list = ["GET /orders", "ANY /{proxy+}"];
        assert_eq!(rest(&list, "POST", "/orders"), "none");
        assert_eq!(rest(&list, "POST", "/other"), "ANY /{proxy+} proxy=other");
    }

    #[test]
    fn a_slash_at_the_end_matters_to_http_apis_only() {
        let list = ["GET /orders", "GET /"];
        assert_eq!(http(&list, "GET", "/orders/"), "none");
        assert_eq!(rest(&list, "GET", "/orders/"), "GET /orders");
        assert_eq!(http(&list, "GET", "/"), "GET /");
        assert_eq!(rest(&list, "GET", "/"), "GET /");
    }

    #[test]
    fn what_stands_in_the_places_is_decoded() {
        let list = ["GET /{a}/x/{b+}"];
        assert_eq!(http(&list, "GET", "/1%2F2/x/3/%C3%A4"), "GET /{a}/x/{b+} a=1/2 b=3/ä");
        assert_eq!(http(&list, "GET", "//x/3"), "none");
        assert_eq!(http(&list, "GET", "/1/x/"), "none");
        assert_eq!(http(&list, "GET", "/1/x"), "none");
    }

    #[test]
    fn without_routes_there_is_one_for_everything() {
        assert_eq!(
            shown(Routes::new(Vec::new()).of_http_api(&Method::PATCH, "/a/b")),
            "ANY *"
        );
    }
}
