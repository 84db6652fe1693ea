//! The sender of a request, and the channels that this client may see.
//!
//! Every local user can connect to loopback. So a client is shown all channels only if the kernel
//! reports that its socket belongs to the user of this program or to root, or if it sends the token
//! of `--token-file`. Every other client is shown the channels that every user may read.
//!
//! A foreign web page can make a browser send requests here under the page's host name ("DNS
//! rebinding"). So the name in `Host` must be an address, `localhost`, or one that `--allow-host`
//! names.

use std::net::{IpAddr, SocketAddr};

/// The criteria.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    /// Host names that are accepted, in lower case.
    pub(crate) hosts: Vec<String>,
    pub(crate) token: Option<String>,
}

/// The identification in a request.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Asks<'a> {
    pub(crate) host: Option<&'a str>,
    pub(crate) authorization: Option<&'a str>,
    pub(crate) query: Option<&'a str>,
}

/// The answer to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sees {
    /// Every channel.
    All,
    /// The channels that every user may read.
    Public,
    /// Nothing: the host name is none of ours.
    WrongHost,
    /// Nothing: the token is wrong.
    WrongToken,
}

impl Rules {
    /// `is_own` says whether the client belongs to the user of this program or to root.
    pub(crate) fn judge(&self, asks: Asks<'_>, is_own: bool) -> Sees {
        // HTTP/1.0 has no such header; a browser always sends it.
        if asks.host.is_some_and(|host| !self.is_known(host)) {
            return Sees::WrongHost;
        }
        let bearer = asks.authorization.and_then(|text| text.strip_prefix("Bearer "));
        let in_query =
            asks.query.and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("token=")));
        match (bearer.or(in_query), &self.token) {
            (Some(given), Some(token)) if is_equal(given.trim(), token) => Sees::All,
            (Some(_), Some(_)) => Sees::WrongToken,
            _ if is_own => Sees::All,
            _ => Sees::Public,
        }
    }

    fn is_known(&self, host: &str) -> bool {
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => {
                host.rsplit_once(':').filter(|(name, _)| !name.contains(':')).map_or(host, |(name, _)| name)
            }
        };
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        name == "localhost" || name.parse::<IpAddr>().is_ok() || self.hosts.contains(&name)
    }
}

/// Compares in a time that does not reveal where the two differ.
fn is_equal(given: &str, token: &str) -> bool {
    let differences = given.bytes().zip(token.bytes()).fold(0, |sum, (a, b)| sum | (a ^ b));
    given.len() == token.len() && differences == 0
}

/// The user whose socket is at the other end of a connection on this host, as the kernel reports
/// it; `None` if it does not.
pub(crate) fn user_of(client: SocketAddr, server: SocketAddr) -> Option<u32> {
    let canonical = |at: SocketAddr| SocketAddr::new(at.ip().to_canonical(), at.port());
    let (client, server) = (canonical(client), canonical(server));
    if !client.ip().is_loopback() {
        return None;
    }
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .find_map(|path| user_in(&std::fs::read_to_string(path).ok()?, client, server))
}

/// Finds the client's socket in the text of `/proc/net/tcp` or `tcp6`. Only an established one has
/// an owner there.
fn user_in(text: &str, client: SocketAddr, server: SocketAddr) -> Option<u32> {
    const ESTABLISHED: &str = "01";
    text.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, local, remote, state, _, _, _, uid, ..] = fields[..] else { return None };
        let is_it = state == ESTABLISHED && address(local) == Some(client) && address(remote) == Some(server);
        if is_it { uid.parse().ok() } else { None }
    })
}

/// An address as the kernel writes it: 32-bit words in the byte order of the machine, and a port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words: Option<Vec<[u8; 4]>> = (0..ip.len() / 8)
        .map(|i| u32::from_str_radix(ip.get(i * 8..i * 8 + 8)?, 16).ok().map(u32::to_ne_bytes))
        .collect();
    let bytes = words?.concat();
    let ip = match <[u8; 4]>::try_from(&bytes[..]) {
        Ok(four) => IpAddr::from(four),
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(&bytes[..]).ok()?).to_canonical(),
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_localhost_and_named_hosts_are_answered() {
        let rules = Rules { hosts: vec!["bus.example".to_owned()], token: None };
        let judge = |host| rules.judge(Asks { host: Some(host), ..Asks::default() }, true);
        for host in
            ["127.0.0.1:9464", "[::1]:9464", "localhost", "LocalHost:80", "bus.example:9464", "10.1.2.3"]
        {
            assert_eq!(judge(host), Sees::All, "{host}");
        }
        for host in
            ["evil.example", "evil.example:9464", "127.0.0.1.evil.example", "localhost.evil", "", "a:b:c"]
        {
            assert_eq!(judge(host), Sees::WrongHost, "{host}");
        }
        assert_eq!(rules.judge(Asks::default(), true), Sees::All);
    }

    #[test]
    fn who_is_not_the_user_sees_all_with_the_token_only() {
        let rules = Rules { hosts: Vec::new(), token: Some("secret".to_owned()) };
        let with = |authorization, query| Asks { host: Some("localhost"), authorization, query };
        assert_eq!(rules.judge(with(None, None), false), Sees::Public);
        assert_eq!(rules.judge(with(None, None), true), Sees::All);
        assert_eq!(rules.judge(with(Some("Bearer secret"), None), false), Sees::All);
        assert_eq!(rules.judge(with(None, Some("x=1&token=secret")), false), Sees::All);
        for wrong in ["Bearer secre", "Bearer secret2", "Bearer "] {
            assert_eq!(rules.judge(with(Some(wrong), None), true), Sees::WrongToken, "{wrong}");
        }
        assert_eq!(Rules::default().judge(with(Some("Bearer x"), None), false), Sees::Public);
    }

    #[test]
    fn the_kernels_tables_are_read() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
                    0: 0100007F:24F8 0100007F:9C40 01 00000000:00000000 00:00000000 00000000  1000 0 1 1\n\
                    1: 0100007F:9C40 0100007F:24F8 06 00000000:00000000 00:00000000 00000000     0 0 0 3\n\
                    2: 0100007F:9C40 0100007F:24F8 01 00000000:00000000 00:00000000 00000000 65534 0 2 1\n";
        let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
        assert_eq!(user_in(text, at("127.0.0.1:40000"), at("127.0.0.1:9464")), Some(65534));
        assert_eq!(user_in(text, at("127.0.0.1:40001"), at("127.0.0.1:9464")), None);
        assert_eq!(address("00000000000000000000000001000000:0050"), Some(at("[::1]:80")));
        assert_eq!(address("0000000000000000FFFF00000100007F:0050"), Some(at("127.0.0.1:80")));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let server = listener.local_addr().expect("bound");
        let client = std::net::TcpStream::connect(server).expect("connected");
        let own = railbus_os::act_as::user();
        assert_eq!(user_of(client.local_addr().expect("bound"), server), Some(own));
    }
}
