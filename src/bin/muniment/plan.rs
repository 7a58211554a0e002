//! The plan of a run of issues: every file with its metadata, before anything is sent.
//!
//! Promises: with a manifest only what it names is in the plan, however paths are written;
//! what cannot be issued, or would be half-way through, is refused whole. Leaves the manifest's
//! form to `manifest`, sending to `issue`.

use crate::exit::CommandFailure;
use crate::identity::Series;
use crate::issue::IssueArgs;
use crate::manifest::{self, ManifestEntry};
use crate::{files, measure, money, now};
use muniment_client::{UploadRequest, v1};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// One file, ready to be issued.
pub struct IssueItem {
    pub path: PathBuf,
    pub upload: UploadRequest,
    /// The day of the run stands in for a date that nobody gave.
    pub date_is_default: bool,
}

/// Every file with its metadata, checked as far as it can be without the ledger.
pub fn plan(args: &IssueArgs) -> Result<Vec<IssueItem>, CommandFailure> {
    let files = match &args.manifest {
        Some(manifest) => of_manifest(manifest, &args.paths)?,
        None => {
            let mut files = Vec::new();
            for path in &args.paths {
                let below = files::below(path)?.into_iter();
                files.extend(below.map(|file| (file, ManifestEntry::default())));
            }
            files
        }
    };
    if files.is_empty() {
        return Err(CommandFailure::usage("there is no file to issue"));
    }
    let alone = files.len() == 1 && args.manifest.is_none() && args.number.is_some();
    for (path, _) in &files {
        once_only(path, alone)?;
    }
    if files.len() > 1 && (args.number.is_some() || args.request_id.is_some()) {
        let why = "--number and --request-id are for one file; give several a --manifest";
        return Err(CommandFailure::usage(why));
    }
    let today = now::today();
    let mut taken: BTreeSet<[String; 5]> = BTreeSet::new();
    let mut items = Vec::new();
    for (path, entry) in files {
        let item = item(args, entry, path, &today)?;
        let identity = item.upload.metadata.identity.clone().unwrap_or_default();
        let number = identity.number.clone();
        let key = [
            identity.tenant,
            identity.scheme,
            identity.issuer,
            identity.number,
            identity.period,
        ];
        if !taken.insert(key) {
            let why = format!(
                "{}: another file has the number {number:?} too; give numbers by --manifest",
                item.path.display()
            );
            return Err(CommandFailure::invalid(why));
        }
        items.push(item);
    }
    Ok(items)
}

/// What the manifest names, in its order; narrowed to the paths that are named as well. What
/// lies beside it and is not named in it (a draft, the manifest itself) is left out where a
/// directory is named, and refused where it is named by itself.
fn of_manifest(
    manifest: &Path,
    paths: &[PathBuf],
) -> Result<Vec<(PathBuf, ManifestEntry)>, CommandFailure> {
    let at = |why: String| CommandFailure::invalid(format!("{}: {why}", manifest.display()));
    let text = std::fs::read_to_string(manifest)
        .map_err(|e| CommandFailure::local(format!("cannot read {}", manifest.display()), &e))?;
    let root = manifest.parent().unwrap_or(Path::new(""));
    let (mut files, mut places) = (Vec::new(), BTreeMap::new());
    for entry in manifest::parse(&text).map_err(at)? {
        let file = root.join(&entry.file);
        if let Some(before) = places.insert(place(&file), entry.file.clone()) {
            let why = format!("{before:?} and {:?} are the same file", entry.file);
            return Err(at(why));
        }
        files.push((file, entry));
    }
    if paths.is_empty() {
        return Ok(files);
    }
    let mut wanted = BTreeSet::new();
    for path in paths {
        let below = files::below(path)?;
        if !path.is_dir() && !places.contains_key(&place(path)) {
            let why = format!("{} is not in it; nothing was sent", path.display());
            return Err(at(why));
        }
        wanted.extend(below.iter().map(|file| place(file)));
    }
    files.retain(|(file, _)| wanted.contains(&place(file)));
    Ok(files)
}

/// The same for every way to write a path; a link stays itself, whatever it leads to.
fn place(path: &Path) -> PathBuf {
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let parent = std::fs::canonicalize(parent).unwrap_or_else(|_| parent.to_owned());
    parent.join(path.file_name().unwrap_or_default())
}

/// What can be read only once is one document alone, with a number: its name says nothing.
fn once_only(path: &Path, alone: bool) -> Result<(), CommandFailure> {
    let why = match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => "is a directory, not a document",
        Ok(metadata) if !metadata.is_file() && !alone => {
            "is no regular file: it can only be issued alone, with --number"
        }
        // One that is not there is told with its own outcome; the others are issued.
        _ => return Ok(()),
    };
    let path = path.display();
    Err(CommandFailure::invalid(format!(
        "{path} {why}; nothing was sent"
    )))
}

fn item(
    args: &IssueArgs,
    entry: ManifestEntry,
    path: PathBuf,
    today: &str,
) -> Result<IssueItem, CommandFailure> {
    let at = |why: String| CommandFailure::invalid(format!("{}: {why}", path.display()));
    let name = path.file_name().and_then(|name| name.to_str());
    let number = entry
        .number
        .or_else(|| args.number.clone())
        .or_else(|| name.map(str::to_owned))
        .ok_or_else(|| at("the file name is not UTF-8; give --number".into()))?;
    let series = Series {
        tenant: entry.tenant.or_else(|| args.series.tenant.clone()),
        scheme: entry.scheme.or_else(|| args.series.scheme.clone()),
        issuer: entry.issuer.or_else(|| args.series.issuer.clone()),
        period: entry.period.or_else(|| args.series.period.clone()),
    };
    let date = entry.date.or_else(|| args.date.clone());
    let date = date.map(|date| measure::date(&date)).transpose();
    let date = date.map_err(at)?;
    let currency = entry.currency.or_else(|| args.currency.clone());
    let total = match (entry.amount.or_else(|| args.amount.clone()), currency) {
        (Some(amount), Some(currency)) => Some(money::parse(&amount, &currency).map_err(at)?),
        (Some(_), None) => return Err(at("an amount needs a currency".into())),
        (None, _) => None,
    };
    let labels = entry.labels.into_iter();
    let metadata = v1::Metadata {
        identity: Some(series.identity(&number)),
        type_code: entry
            .type_code
            .or_else(|| args.type_code.clone())
            .unwrap_or_default(),
        issue_date: date.clone().unwrap_or_else(|| today.to_owned()),
        seller: party(
            entry.seller.or_else(|| args.seller.clone()),
            entry.seller_name,
        )
        .map_err(at)?,
        buyer: party(entry.buyer.or_else(|| args.buyer.clone()), entry.buyer_name).map_err(at)?,
        total,
        labels: labels
            .map(|(key, value)| v1::Label { key, value })
            .collect(),
        ..v1::Metadata::default()
    };
    let media_type = entry
        .media_type
        .unwrap_or_else(|| files::media_type(&path).to_owned());
    Ok(IssueItem {
        upload: UploadRequest {
            request_id: entry
                .request_id
                .or_else(|| args.request_id.clone())
                .unwrap_or_default(),
            metadata,
            role: String::new(),
            media_type,
            level: args.level,
        },
        date_is_default: date.is_none(),
        path,
    })
}

fn party(id: Option<String>, name: Option<String>) -> Result<Option<v1::Party>, String> {
    match (id, name) {
        (Some(id), name) => Ok(Some(v1::Party {
            scheme: String::new(),
            id,
            name: name.unwrap_or_default(),
        })),
        (None, Some(name)) => Err(format!("{name:?} is a party without an id")),
        (None, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        args: IssueArgs,
    }

    fn args(words: &[&str]) -> IssueArgs {
        Command::parse_from([&["issue"], words].concat()).args
    }

    #[test]
    fn a_file_alone_is_numbered_by_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("A-1.pdf");
        std::fs::write(&path, "x").unwrap();
        let items = plan(&args(&[path.to_str().unwrap()])).unwrap();
        let metadata = &items[0].upload.metadata;
        let identity = metadata.identity.clone().unwrap();
        assert_eq!(identity.number, "A-1.pdf");
        assert_eq!(identity.tenant, "default");
        assert_eq!(identity.scheme, "generic");
        assert_eq!(identity.issuer, "local");
        assert_eq!(metadata.total, None);
        assert_eq!(items[0].upload.media_type, "application/pdf");
        assert!(items[0].date_is_default);
    }

    #[test]
    fn a_manifest_outranks_the_flags() {
        let directory = tempfile::tempdir().unwrap();
        let manifest = directory.path().join("m.csv");
        let text = "file,number,amount,currency\na.pdf,7,1.50,EUR\nb.pdf,,,\n";
        std::fs::write(&manifest, text).unwrap();
        let words = ["--manifest", manifest.to_str().unwrap(), "--issuer", "me"];
        let items = plan(&args(&words)).unwrap();
        let first = &items[0].upload.metadata;
        assert_eq!(first.identity.as_ref().unwrap().number, "7");
        assert_eq!(first.identity.as_ref().unwrap().issuer, "me");
        assert_eq!(first.total.as_ref().unwrap().minor_units, 150);
        let second = items[1].upload.metadata.identity.as_ref().unwrap();
        assert_eq!(second.number, "b.pdf");
        assert_eq!(items[1].path, directory.path().join("b.pdf"));
    }

    /// Two files under one number would fail only half-way through the run.
    #[test]
    fn a_plan_that_cannot_hold_is_refused_before_anything_is_sent() {
        let directory = tempfile::tempdir().unwrap();
        for sub in ["x", "y"] {
            std::fs::create_dir(directory.path().join(sub)).unwrap();
            std::fs::write(directory.path().join(sub).join("a.pdf"), sub).unwrap();
        }
        let root = directory.path().to_str().unwrap();
        assert_eq!(plan(&args(&[root])).err().unwrap().exit, Exit::Invalid);
        assert_eq!(
            plan(&args(&[root, "--number", "1"])).err().unwrap().exit,
            Exit::Usage
        );
        let one = format!("{root}/x/a.pdf");
        let unpriced = plan(&args(&[&one, "--amount", "1"]));
        assert_eq!(unpriced.err().unwrap().exit, Exit::Invalid);
    }

    /// A draft beside the run, or the run's own manifest, would be issued for ever.
    #[test]
    fn only_what_the_manifest_names_is_issued_however_paths_are_written() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        std::fs::create_dir(root.join("sub")).unwrap();
        for name in ["a.pdf", "b.pdf", "draft.pdf", "sub/a.pdf"] {
            std::fs::write(root.join(name), name).unwrap();
        }
        let manifest = root.join("run.csv");
        std::fs::write(&manifest, "file,number\na.pdf,1\nb.pdf,2\n").unwrap();
        let manifest = manifest.to_str().unwrap();
        let at = root.to_str().unwrap();
        // Relative to another directory, absolute, and by a detour.
        let numbers = |narrowed: &[&str]| -> Result<Vec<String>, CommandFailure> {
            let items = plan(&args(&[&["--manifest", manifest], narrowed].concat()))?;
            let identities = items
                .into_iter()
                .map(|i| i.upload.metadata.identity.unwrap());
            Ok(identities.map(|identity| identity.number).collect())
        };
        let detour = format!("{at}/sub/..");
        let one = format!("{at}/sub/../b.pdf");
        let (draft, sub) = (format!("{at}/draft.pdf"), format!("{at}/sub"));
        assert_eq!(numbers(&[]).unwrap(), ["1", "2"]);
        assert_eq!(numbers(&[at]).unwrap(), ["1", "2"]);
        assert_eq!(numbers(&[&detour]).unwrap(), ["1", "2"]);
        assert_eq!(numbers(&[&one]).unwrap(), ["2"]);
        // A file of the same name elsewhere is another file.
        assert_eq!(numbers(&[&sub]).unwrap_err().exit, Exit::Usage);
        for named in [draft.as_str(), manifest] {
            assert_eq!(
                numbers(&[named]).unwrap_err().exit,
                Exit::Invalid,
                "{named}"
            );
        }
        std::fs::write(manifest, "file,number\na.pdf,1\nsub/../a.pdf,2\n").unwrap();
        assert_eq!(numbers(&[]).unwrap_err().exit, Exit::Invalid);
    }

    #[test]
    fn what_can_be_read_only_once_is_issued_alone_and_numbered() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let pipe = root.join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        let pipe = pipe.to_str().unwrap();
        assert_eq!(plan(&args(&[pipe, "--number", "7"])).unwrap().len(), 1);
        std::fs::write(root.join("run.csv"), "file,number\nfifo,7\n").unwrap();
        std::fs::write(root.join("b.csv"), "file,number\nsub,7\n").unwrap();
        std::fs::create_dir(root.join("sub")).unwrap();
        let (run, sub) = (root.join("run.csv"), root.join("b.csv"));
        for words in [
            &[pipe][..],
            &[root.to_str().unwrap()],
            &["--manifest", run.to_str().unwrap()],
            &["--manifest", sub.to_str().unwrap()],
        ] {
            let refused = plan(&args(words)).err().unwrap();
            assert_eq!(refused.exit, Exit::Invalid, "{words:?}");
        }
    }
}
