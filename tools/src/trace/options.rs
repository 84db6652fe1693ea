//! Values of the exporter's options.

use std::str::FromStr;

/// A header of every request.
#[derive(Clone)]
pub(crate) struct Header {
    pub(super) name: hyper::header::HeaderName,
    pub(super) value: hyper::header::HeaderValue,
}

impl std::fmt::Debug for Header {
    /// Without the value, which may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}=...", self.name)
    }
}

/// `NAME=VALUE`.
pub(super) fn parse_header(text: &str) -> Result<Header, String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    let name = hyper::header::HeaderName::from_str(name.trim())
        .map_err(|_| format!("{name:?} is no header's name"))?;
    if ["content-type", "content-length", "host", "transfer-encoding", "connection"].contains(&name.as_str())
    {
        return Err(format!("{name} is not for you to choose"));
    }
    let mut value = hyper::header::HeaderValue::from_str(value.trim())
        .map_err(|_| format!("what {name} is to be has characters that no header can carry"))?;
    value.set_sensitive(true);
    Ok(Header { name, value })
}

/// A number from 0 to 1.
pub(super) fn parse_ratio(text: &str) -> Result<f64, String> {
    let ratio = text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio.ok_or_else(|| "must be a number from 0 to 1".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios() {
        assert_eq!((parse_ratio("0"), parse_ratio("0.25"), parse_ratio("1")), (Ok(0.0), Ok(0.25), Ok(1.0)));
        for bad in ["", "-0.1", "1.01", "NaN", "inf", "50%"] {
            assert!(parse_ratio(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn headers() {
        let header = parse_header("Authorization=Basic dXNlcg==").expect("a header");
        assert_eq!(
            (header.name.as_str(), header.value.as_bytes()),
            ("authorization", &b"Basic dXNlcg=="[..])
        );
        assert!(!format!("{header:?}").contains("dXNl"));
        for bad in ["", "name", "na me=1", "a=b\nc: d", "Content-Type=text/plain"] {
            assert!(parse_header(bad).is_err(), "{bad}");
        }
    }
}
