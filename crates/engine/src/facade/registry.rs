//! What is asked of registries without bringing anything here: search, and what a name means there.
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::registry_auth::credentials;
use knarr_docker_types::distribution::Inspect;
use knarr_docker_types::image::SearchResult;
use knarr_docker_types::options::ImageSearch;
use knarr_docker_types::platform;
use knarr_docker_types::registry::AuthConfig;
use knarr_image::{Access, Repository, Search, Select};
use knarr_oci::image::{Descriptor, Document, MAX_CONFIG_LEN};
use knarr_oci::platform::Platform;
use knarr_oci::reference::{Reference, is_identifier};

/// Filters of `search`. The last is what Docker still takes and no image has any more.
const SEARCH_FILTERS: [&str; 3] = ["is-official", "stars", "is-automated"];

impl Engine {
    pub async fn image_search(&self, options: ImageSearch) -> Result<Vec<SearchResult>> {
        let filters = options.filters;
        filters.validate(&SEARCH_FILTERS)?;
        if filters.boolean("is-automated")? == Some(true) {
            return Ok(Vec::new());
        }
        let official = filters.boolean("is-official")?;
        let mut stars = 0;
        for text in filters.get("stars") {
            let least: i64 =
                text.parse().map_err(|_| Error::Invalid(format!("invalid filter 'stars={text}'")))?;
            stars = stars.max(least);
        }
        let search = Search {
            term: options.term,
            limit: u32::try_from(options.limit).unwrap_or(u32::MAX),
            credentials: credentials(options.auth),
        };
        let found = self.inner.images.registries().search(&search).await.map_err(knarr_image::Error::from)?;
        let wanted = found.into_iter().filter(|row| {
            official.is_none_or(|official| official == row.is_official) && row.star_count >= stars
        });
        Ok(wanted
            .map(|row| SearchResult {
                name: row.name,
                description: row.description,
                star_count: row.star_count,
                is_official: row.is_official,
                is_automated: false,
            })
            .collect())
    }

    /// What a name means in its registry, and for which platforms.
    pub async fn distribution_inspect(&self, name: &str, auth: Option<AuthConfig>) -> Result<Inspect> {
        if is_identifier(name) {
            return Err(Error::Invalid("no manifest found for full image ID".to_owned()));
        }
        let reference = Reference::parse(name).map_err(knarr_image::Error::from)?;
        let (descriptor, platforms) = inspect(self, &reference, auth).await?;
        let shown = platform::Descriptor {
            media_type: descriptor.media_type,
            digest: descriptor.digest.to_string(),
            size: i64::try_from(descriptor.size).unwrap_or(i64::MAX),
            ..Default::default()
        };
        Ok(Inspect {
            descriptor: shown,
            platforms: platforms.iter().map(shown_platform).collect::<Vec<_>>().into(),
        })
    }
}

async fn inspect(
    engine: &Engine,
    reference: &Reference,
    auth: Option<AuthConfig>,
) -> std::result::Result<(Descriptor, Vec<Platform>), knarr_image::Error> {
    let client = engine.inner.images.registries();
    let repository: Repository = client.repository(reference, credentials(auth), Access::Pull)?;
    let select = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => Select::Digest(digest),
        (None, tag) => Select::Tag(tag.unwrap_or(knarr_oci::reference::DEFAULT_TAG)),
    };
    let fetched = repository.manifest(select).await?;
    let document = Document::parse(&fetched.bytes, &fetched.descriptor.media_type)?;
    let descriptor = Descriptor { media_type: document.media_type().to_owned(), ..fetched.descriptor };
    let platforms = match document {
        Document::Index(index) => {
            index.manifests.into_iter().map(|manifest| manifest.platform.unwrap_or_default()).collect()
        }
        Document::Manifest(manifest) => {
            let config = repository.small_blob(&manifest.config, MAX_CONFIG_LEN).await?;
            // What is no image (an artifact) has no platform.
            let platform: Platform = serde_json::from_slice(&config).unwrap_or_default();
            let named = !platform.os.is_empty() || !platform.architecture.is_empty();
            if named { vec![platform] } else { Vec::new() }
        }
    };
    Ok((descriptor, platforms))
}

fn shown_platform(platform: &Platform) -> platform::Platform {
    platform::Platform {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        os_version: platform.os_version.clone().unwrap_or_default(),
        os_features: platform.os_features.clone().into(),
        variant: platform.variant.clone(),
    }
}
