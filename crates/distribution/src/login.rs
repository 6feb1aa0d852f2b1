//! Checking credentials, for `docker login`.
use crate::client::Client;
use crate::credentials::Credentials;
use crate::endpoint;
use crate::error::{Error, RegistryError, Result};
use crate::repository::{Access, Repository, each};
use knarr_oci::reference::Reference;

/// The registry let the user in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Login {
    /// To be stored instead of the password, if the registry gives one.
    pub identity_token: Option<String>,
}

impl Client {
    /// Checks credentials at a registry (`docker.io`, `host:port`; an URL's scheme and path are ignored).
    pub async fn login(&self, server: &str, credentials: Credentials) -> Result<Login> {
        let domain = domain_of(server);
        // Endpoints come from the address itself: as part of a name, a host without a dot would mean `docker.io`.
        let endpoints = endpoint::endpoints(domain, "", self.config(), false)?;
        let nothing = Reference::parse("login").map_err(|error| Error::Config(error.to_string()))?;
        let repository = Repository::new(self.clone(), &nothing, Some(credentials), Access::Push, endpoints);
        match each!(repository, session => session.login()) {
            Ok(identity_token) => Ok(Login { identity_token }),
            Err(Error::Unauthorized { method, url, .. }) => {
                let cause = RegistryError::new("UNAUTHORIZED", "incorrect username or password");
                Err(Error::Unauthorized { method, url, cause })
            }
            Err(error) => Err(error),
        }
    }
}

/// Of what `docker login` sends: `https://index.docker.io/v1/`, `localhost:5000`.
fn domain_of(server: &str) -> &str {
    let rest = server.split_once("://").map_or(server, |(_, rest)| rest);
    match rest.split('/').next().unwrap_or_default() {
        "" | "index.docker.io" | "registry-1.docker.io" => "docker.io",
        domain => domain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_docker_login() {
        assert_eq!(domain_of("https://index.docker.io/v1/"), "docker.io");
        assert_eq!(domain_of(""), "docker.io");
        assert_eq!(domain_of("localhost:5000"), "localhost:5000");
        assert_eq!(domain_of("http://r.test:80/v2/"), "r.test:80");
    }
}
