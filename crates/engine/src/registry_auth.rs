//! Credentials of requests, as the registry client takes them.
use knarr_docker_types::registry::AuthConfig;
use knarr_image::Credentials;

/// `None` when the client sent none. `auth` is base64 of `user:password`, from old clients.
pub(crate) fn credentials(auth: Option<AuthConfig>) -> Option<Credentials> {
    let auth = auth?;
    let (mut username, mut password) = (auth.username, auth.password);
    if username.is_empty() && !auth.auth.is_empty() {
        use base64::Engine;
        let decoded = base64::engine::general_purpose::STANDARD.decode(auth.auth.trim()).ok()?;
        let text = String::from_utf8(decoded).ok()?;
        let (user, secret) = text.split_once(':')?;
        (username, password) = (user.to_owned(), secret.trim_end_matches('\0').to_owned());
    }
    let credentials = Credentials {
        username,
        password,
        identity_token: auth.identity_token,
        registry_token: auth.registry_token,
    };
    (!credentials.is_empty()).then_some(credentials)
}
