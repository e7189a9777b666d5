//! Requests and how long they took, by method, route and status.
//!
//! The labels are bounded: methods by a list, routes by the router's templates (an unknown path is `unmatched`), statuses
//! by what the program answers. So the table has a fixed size and fills itself; to find a place in it takes neither a
//! lock nor an allocation, and a route needs no registration.

use std::sync::OnceLock;
use std::time::Duration;

use axum::http::{Method, StatusCode};

use crate::telemetry::metrics::{Bounds, Exposition, Histogram, Kind};

/// A millisecond to five seconds. A password costs some 20 ms.
const BOUNDS: Bounds = [
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
];

/// Several times what all routes could need with every status they answer.
const PLACES: usize = 4096;

/// The route of a request that no route matched.
pub const UNMATCHED: &str = "unmatched";

/// The counts. One for each program, shared by all connections.
#[derive(Debug)]
pub struct Requests(Box<[OnceLock<Box<Cell>>]>);

/// A cache line of its own: cells are counted by all threads at once.
#[derive(Debug)]
#[repr(align(64))]
struct Cell {
    method: &'static str,
    route: Box<str>,
    status: StatusCode,
    took: Histogram,
}

impl Default for Requests {
    fn default() -> Self {
        Self((0..PLACES).map(|_| OnceLock::new()).collect())
    }
}

impl Requests {
    /// Counts one answer. `route` is the router's template, never a path.
    pub fn answered(&self, method: &Method, route: &str, status: StatusCode, took: Duration) {
        let method = self::method(method);
        let (before, from_first) = self.0.split_at(first_place(method, route, status));
        for place in from_first.iter().chain(before) {
            let cell = place.get_or_init(|| {
                Box::new(Cell {
                    method,
                    route: route.into(),
                    status,
                    took: Histogram::new(&BOUNDS),
                })
            });
            if cell.status == status && cell.method == method && *cell.route == *route {
                cell.took.observe(took);
                return;
            }
        }
    }

    /// Writes them down, sorted.
    pub fn write(&self, text: &mut Exposition) {
        let mut cells: Vec<&Cell> = self.0.iter().filter_map(OnceLock::get).map(Box::as_ref).collect();
        cells.sort_unstable_by_key(|cell| (&cell.route, cell.method, cell.status));
        text.family(
            "stile_http_requests_total",
            Kind::Counter,
            "Requests answered, by route template.",
        );
        for cell in &cells {
            text.sample(&cell.labels(), cell.took.count());
        }
        text.family(
            "stile_http_request_duration_seconds",
            Kind::Histogram,
            "Time from the head of a request to its answer, by route template.",
        );
        for cell in &cells {
            text.histogram(&cell.labels(), &cell.took);
        }
    }
}

/// FNV-1a (<https://datatracker.ietf.org/doc/html/draft-eastlake-fnv>): nobody outside chooses what is hashed, so it need
/// not withstand an attack.
fn first_place(method: &str, route: &str, status: StatusCode) -> usize {
    let status = status.as_u16().to_le_bytes();
    let bytes = route.bytes().chain(status).chain(method.bytes());
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    hash as usize % PLACES
}

impl Cell {
    fn labels(&self) -> [(&'static str, &str); 3] {
        [
            ("method", self.method),
            ("route", &self.route),
            ("status", self.status.as_str()),
        ]
    }
}

/// A method as a label: clients can invent methods, labels they cannot.
#[must_use]
pub fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(requests: &Requests) -> String {
        let mut text = Exposition::default();
        requests.write(&mut text);
        text.finish()
    }

    #[test]
    fn threads_that_meet_new_routes_at_once_lose_no_request() {
        let requests = Requests::default();
        let routes: Vec<String> = (0..300).map(|n| format!("/route/{n}")).collect();
        std::thread::scope(|threads| {
            for _ in 0..8 {
                threads.spawn(|| {
                    for route in &routes {
                        for status in [StatusCode::OK, StatusCode::TOO_MANY_REQUESTS] {
                            requests.answered(&Method::GET, route, status, Duration::from_millis(3));
                        }
                    }
                });
            }
        });
        let text = text(&requests);
        for route in &routes {
            for status in [200, 429] {
                let labels = format!("{{method=\"GET\",route=\"{route}\",status=\"{status}\"");
                assert!(
                    text.contains(&format!("stile_http_requests_total{labels}}} 8\n")),
                    "{labels}"
                );
                let bucket = format!("stile_http_request_duration_seconds_bucket{labels},le=");
                assert!(text.contains(&format!("{bucket}\"0.0025\"}} 0\n")), "{labels}");
                assert!(text.contains(&format!("{bucket}\"0.005\"}} 8\n")), "{labels}");
            }
        }
        assert_eq!(text.matches("stile_http_requests_total{").count(), 600);
    }

    #[test]
    fn an_invented_method_gets_no_label_of_its_own() {
        let requests = Requests::default();
        for n in 0..5000 {
            let method = Method::from_bytes(format!("M{n}").as_bytes()).unwrap();
            requests.answered(&method, UNMATCHED, StatusCode::METHOD_NOT_ALLOWED, Duration::ZERO);
        }
        let text = text(&requests);
        let sample = "stile_http_requests_total{method=\"other\",route=\"unmatched\",status=\"405\"} 5000\n";
        assert!(text.contains(sample), "{text}");
        assert_eq!(text.matches("stile_http_requests_total{").count(), 1);
    }
}
