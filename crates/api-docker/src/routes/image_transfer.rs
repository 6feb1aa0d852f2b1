//! Images on the move: pull, push, load, save, import.
use crate::context::Context;
use crate::error::ApiError;
use crate::reply::{Answer, TAR};
use crate::stream;
use knarr_docker_types::options::{ImageImport, ImagePull, ImagePush};

pub async fn create(cx: Context) -> Answer {
    let platform = if cx.version.before(32) { None } else { cx.query.platform_text("platform")? };
    let text = |name: &str| cx.query.get(name).to_owned();
    let (image, tag) = (text("fromImage"), text("tag"));
    if !image.is_empty() {
        let (reference, all_tags) = join_reference(&image, &tag);
        let options = ImagePull { reference, all_tags, platform, auth: cx.auth() };
        return stream::progress(cx.engine.image_pull(options).await?).await;
    }
    let source = text("fromSrc");
    if source.is_empty() {
        return Err(ApiError::invalid("one of fromImage and fromSrc is needed"));
    }
    let message = Some(text("message")).filter(|message| !message.is_empty());
    let options = ImageImport {
        message: message.unwrap_or_else(|| format!("Imported from {source}")),
        source,
        repo: text("repo"),
        tag,
        changes: cx.query.all("changes"),
        platform,
    };
    let engine = cx.engine.clone();
    stream::progress(engine.image_import(options, cx.into_reader()).await?).await
}

/// `fromImage` and `tag` as one reference. A name without either is every tag of the repository.
fn join_reference(image: &str, tag: &str) -> (String, bool) {
    let image = image.strip_suffix(':').unwrap_or(image);
    match tag {
        "" => {
            let last = image.rsplit('/').next().unwrap_or(image);
            (image.to_owned(), !last.contains(':') && !last.contains('@'))
        }
        digest if digest.contains(':') => {
            let name = image.split('@').next().unwrap_or(image);
            (format!("{name}@{digest}"), false)
        }
        tag => (format!("{image}:{tag}"), false),
    }
}

pub async fn push(cx: Context) -> Answer {
    let options = ImagePush {
        name: cx.name.clone(),
        tag: cx.query.get("tag").to_owned(),
        platform: if cx.version.before(46) { None } else { cx.query.platform_json("platform")? },
        auth: cx.auth(),
    };
    stream::progress(cx.engine.image_push(options).await?).await
}

pub async fn load(cx: Context) -> Answer {
    let quiet = cx.query.bool_or("quiet", true);
    let platforms = if cx.version.before(48) { Vec::new() } else { cx.query.platforms_json("platform")? };
    let engine = cx.engine.clone();
    // What is wrong with an archive is told in the stream, where clients of Docker look for it.
    Ok(stream::progress_in_the_body(engine.image_load(cx.into_reader(), quiet, platforms).await?).await)
}

pub async fn save(cx: Context) -> Answer {
    let names = if cx.name.is_empty() { cx.query.all("names") } else { vec![cx.name.clone()] };
    let platforms = if cx.version.before(48) { Vec::new() } else { cx.query.platforms_json("platform")? };
    stream::bytes(TAR, cx.engine.image_save(names, platforms).await?).await
}

#[cfg(test)]
mod tests {
    use super::join_reference;

    #[test]
    fn names_tags_and_digests() {
        let join = |image, tag| join_reference(image, tag);
        assert_eq!(join("busybox", "1.36"), ("busybox:1.36".to_owned(), false));
        assert_eq!(join("host:5000/a", "b"), ("host:5000/a:b".to_owned(), false));
        assert_eq!(join("a", "sha256:00"), ("a@sha256:00".to_owned(), false));
        assert_eq!(join("a:", ""), ("a".to_owned(), true));
        assert_eq!(join("host:5000/a", ""), ("host:5000/a".to_owned(), true));
        assert_eq!(join("a:b", ""), ("a:b".to_owned(), false));
    }
}
