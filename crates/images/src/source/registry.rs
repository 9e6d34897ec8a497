//! Images in registries (OCI distribution-spec), by HTTPS, and by plain HTTP on this machine alone.

use std::{io::Read, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use ureq::{
    Agent, Body,
    config::RedirectAuthHeaders,
    http::{Response, StatusCode, header},
    tls::{RootCerts, TlsConfig},
};

use super::{
    DOCUMENT_MAX, Login, Opened, Part, Parts,
    document::{self, Document},
    read_document,
};
use crate::{
    ImageError, hash,
    image::{Digest, Reference},
};

/// The forms of manifests and indexes that are understood.
const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";
/// The time to connect, to answer, and to send the whole of a part.
const CONNECT: Duration = Duration::from_secs(30);
const ANSWER: Duration = Duration::from_secs(60);
const WHOLE: Duration = Duration::from_secs(60 * 60);
/// The largest answer of a server that gives tokens, in bytes.
const TOKEN_MAX: u64 = 1 << 20;
/// The tag of a reference without a tag.
const LATEST: &str = "latest";

/// A registry, and a name in it.
struct Registry {
    agent: Agent,
    host: String,
    /// The start of all addresses: `https://host/v2/name`.
    base: String,
    /// `user:password`.
    login: Option<String>,
    /// The header that a server has asked for.
    authorization: Option<String>,
}

/// Opens an image.
pub(super) fn open(
    reference: &Reference,
    wanted: Option<&Digest>,
    login: &Login,
) -> Result<Opened<'static>, ImageError> {
    let mut registry = Registry::new(reference, login)?;
    let pinned = reference.digest.as_ref().or(wanted);
    let (digest, bytes) = registry.top(reference, pinned)?;
    let (digest, manifest) = match Document::parse(&bytes)? {
        Document::Manifest(manifest) => (digest, manifest),
        Document::Index(index) => {
            let part = document::part(document::choose(&index)?, "the manifest")?;
            let (_, bytes) = registry.manifest(part.digest.as_str(), Some(&part.digest))?;
            match Document::parse(&bytes)? {
                Document::Manifest(manifest) => (part.digest, manifest),
                Document::Index(_) => {
                    return Err(ImageError::Unusable {
                        document: "the index".to_owned(),
                        fault: "leads to another index".to_owned(),
                    });
                }
            }
        }
    };
    let (config, layers) = document::parts(&manifest)?;
    let (config, _) = document::config(&read_document(&mut registry, &config)?)?;
    Ok(Opened {
        digest,
        config,
        layers,
        parts: Box::new(registry),
    })
}

impl Parts for Registry {
    fn open(&mut self, part: &Part) -> Result<Box<dyn Read + '_>, ImageError> {
        let response = self.get(&format!("blobs/{}", part.digest), None, &part.name)?;
        Ok(Box::new(response.into_body().into_reader()))
    }
}

impl Registry {
    fn new(reference: &Reference, login: &Login) -> Result<Self, ImageError> {
        let host = &reference.host;
        let is_local = is_local(host);
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .https_only(!is_local)
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(ANSWER))
            .timeout_recv_body(Some(WHOLE))
            // Content often lies on another host, which gets no login.
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .tls_config(
                TlsConfig::builder()
                    .root_certs(RootCerts::PlatformVerifier)
                    .build(),
            )
            .user_agent(concat!("nixactions/", env!("CARGO_PKG_VERSION")))
            .build();
        let scheme = if is_local { "http" } else { "https" };
        // Docker's own registry has another name for people.
        let server = match host.as_str() {
            "docker.io" => "registry-1.docker.io",
            host => host,
        };
        Ok(Self {
            agent: config.into(),
            base: format!("{scheme}://{server}/v2/{}", reference.name),
            login: login.find(host, &reference.name)?,
            authorization: None,
            host: host.clone(),
        })
    }

    /// Reads the manifest or index that a reference names, and checks its digest.
    fn top(
        &mut self,
        reference: &Reference,
        pinned: Option<&Digest>,
    ) -> Result<(Digest, Vec<u8>), ImageError> {
        let tag = reference.tag.as_deref();
        let Some(pinned) = pinned else {
            return self.manifest(tag.unwrap_or(LATEST), None);
        };
        match self.manifest(pinned.as_str(), Some(pinned)) {
            // The tag tells what is there instead.
            Err(ImageError::Status { status: 404, .. }) if tag.is_some() => {
                let (found, _) = self.manifest(tag.unwrap_or(LATEST), None)?;
                Err(ImageError::Digest {
                    content: format!("`{reference}`"),
                    expected: pinned.clone(),
                    found,
                })
            }
            other => other,
        }
    }

    /// Reads a manifest or an index by its tag or digest.
    fn manifest(
        &mut self,
        name: &str,
        expected: Option<&Digest>,
    ) -> Result<(Digest, Vec<u8>), ImageError> {
        let content = format!("the manifest `{name}`");
        let response = self.get(&format!("manifests/{name}"), Some(ACCEPT), &content)?;
        let bytes = self.small(response, DOCUMENT_MAX, &content)?;
        if let Some(expected) = expected {
            hash::check(&content, &bytes, expected)?;
        }
        Ok((hash::digest_of(&bytes), bytes))
    }

    /// Reads a small answer.
    fn small(
        &self,
        response: Response<Body>,
        max: u64,
        content: &str,
    ) -> Result<Vec<u8>, ImageError> {
        let mut bytes = Vec::new();
        let reader = response.into_body().into_reader();
        let read = reader.take(max + 1).read_to_end(&mut bytes);
        read.map_err(|source| ImageError::Broken {
            archive: content.to_owned(),
            source,
        })?;
        if bytes.len() as u64 > max {
            return Err(ImageError::TooLarge {
                archive: content.to_owned(),
                limit: format!("{max} bytes"),
            });
        }
        Ok(bytes)
    }

    /// Asks for a part, and logs in where the registry wants that.
    fn get(
        &mut self,
        path: &str,
        accept: Option<&str>,
        content: &str,
    ) -> Result<Response<Body>, ImageError> {
        let address = format!("{}/{path}", self.base);
        let mut response = self.call(&address, accept)?;
        if response.status() == StatusCode::UNAUTHORIZED {
            let challenges = response.headers().get_all(header::WWW_AUTHENTICATE);
            let challenges: Vec<String> = challenges
                .iter()
                .filter_map(|value| value.to_str().ok().map(str::to_owned))
                .collect();
            self.authorization = Some(self.answer(&challenges)?);
            response = self.call(&address, accept)?;
        }
        match response.status() {
            StatusCode::OK => Ok(response),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(self.refused()),
            status => Err(ImageError::Status {
                host: self.host.clone(),
                status: status.as_u16(),
                content: content.to_owned(),
            }),
        }
    }

    fn call(&self, address: &str, accept: Option<&str>) -> Result<Response<Body>, ImageError> {
        let mut request = self.agent.get(address);
        if let Some(accept) = accept {
            request = request.header(header::ACCEPT, accept);
        }
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        request.call().map_err(|source| ImageError::Unreachable {
            host: self.host.clone(),
            source: Box::new(source),
        })
    }

    fn refused(&self) -> ImageError {
        let user = self
            .login
            .as_deref()
            .and_then(|login| login.split(':').next());
        ImageError::Login {
            host: self.host.clone(),
            login: match user {
                Some(user) => format!("the login of `{user}`"),
                None => "a request without a login".to_owned(),
            },
        }
    }

    /// Returns the header that answers one of a server's challenges (RFC 9110, 11.6).
    fn answer(&self, challenges: &[String]) -> Result<String, ImageError> {
        let basic = |login: &str| format!("Basic {}", STANDARD.encode(login));
        for challenge in challenges {
            let Some((scheme, rest)) = challenge.trim().split_once(' ') else {
                continue;
            };
            if scheme.eq_ignore_ascii_case("bearer") {
                return self.token(rest).map(|token| format!("Bearer {token}"));
            }
            if scheme.eq_ignore_ascii_case("basic") {
                let login = self.login.as_deref().ok_or_else(|| self.refused())?;
                return Ok(basic(login));
            }
        }
        Err(self.refused())
    }

    /// Gets a token from the server that a challenge names (distribution-spec, token).
    fn token(&self, challenge: &str) -> Result<String, ImageError> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            token: Option<String>,
            #[serde(default)]
            access_token: Option<String>,
        }
        let wrong = |fault: &str| ImageError::Registry {
            host: self.host.clone(),
            fault: fault.to_owned(),
        };
        let parameters = parameters(challenge);
        let get = |name: &str| {
            let found = parameters.iter().find(|(key, _)| key == name);
            found.map(|(_, value)| value.as_str())
        };
        let realm = get("realm").ok_or_else(|| wrong("names no server that gives tokens"))?;
        let mut request = self.agent.get(realm);
        for name in ["service", "scope"] {
            if let Some(value) = get(name) {
                request = request.query(name, value);
            }
        }
        // The agent refuses plain HTTP, unless the registry itself is on this machine. Then the
        // login must not leave the machine.
        let is_safe = realm.starts_with("https://")
            || realm
                .strip_prefix("http://")
                .is_some_and(|rest| is_local(rest.split('/').next().unwrap_or_default()));
        if let Some(login) = self.login.as_deref().filter(|_| is_safe) {
            let value = format!("Basic {}", STANDARD.encode(login));
            request = request.header(header::AUTHORIZATION, value);
        }
        let response = request.call().map_err(|source| ImageError::Unreachable {
            host: realm.to_owned(),
            source: Box::new(source),
        })?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(self.refused()),
            status => {
                return Err(ImageError::Status {
                    host: realm.to_owned(),
                    status: status.as_u16(),
                    content: "a token".to_owned(),
                });
            }
        }
        let bytes = self.small(response, TOKEN_MAX, "a token")?;
        let answer: Answer = document::parse("the token", &bytes)?;
        let token = answer.token.or(answer.access_token).filter(|token| {
            // It becomes a header.
            !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic())
        });
        token.ok_or_else(|| wrong("gives no token"))
    }
}

/// Returns whether a host is this machine. Only its own registries may speak without encryption.
fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost"
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Returns the parameters of a challenge: `key="value", …`.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((key, after)) = rest.split_once('=') {
        let key = key.trim_matches([' ', ',']).to_ascii_lowercase();
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').unwrap_or((after, "")),
        };
        found.push((key, value.trim().to_owned()));
        rest = after;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let text = r#"realm="https://auth.io/token",service="registry.io", Scope="repository:a/b:pull,push",error=x"#;
        let expected = [
            ("realm", "https://auth.io/token"),
            ("service", "registry.io"),
            ("scope", "repository:a/b:pull,push"),
            ("error", "x"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(parameters(text), expected);
        assert!(parameters("").is_empty() && parameters("x").is_empty());
        assert_eq!(parameters("a=\"b").len(), 1);
    }

    #[test]
    fn only_this_machine_is_local() {
        for host in [
            "localhost",
            "localhost:5000",
            "127.0.0.1:1",
            "127.9.9.9",
            "[::1]:5000",
        ] {
            assert!(is_local(host), "{host}");
        }
        for host in [
            "localhost.evil.io",
            "127.0.0.1.evil.io",
            "10.0.0.1",
            "docker.io",
            "[::2]:1",
        ] {
            assert!(!is_local(host), "{host}");
        }
    }
}
