//! Reading an archive that may be anything: only what its list names is written, each file exactly as long as listed, and
//! into an empty folder, so that no path, link or compression can reach or fill anything else.

use std::fs::{self, File};
use std::io::{self, BufReader, Read as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};
use zip::ZipArchive;
use zip::read::ZipFile;

use super::{Contents, MANIFEST, Member};
use crate::disk::free_bytes;

/// The list of 100,000 files takes less.
const MAX_MANIFEST_BYTES: u64 = 64 << 20;

/// An archive whose list of files was read.
pub(crate) struct Opened {
    zip: ZipArchive<BufReader<File>>,
    pub(crate) contents: Contents,
}

/// Reads an archive's list of files and compares it with what is there.
///
/// # Errors
/// When it is no archive of this program, or holds anything but the files it lists.
pub(crate) fn open(file: &Path) -> anyhow::Result<Opened> {
    let name = || file.display().to_string();
    let reader = BufReader::new(File::open(file).with_context(name)?);
    let mut zip = ZipArchive::new(reader).with_context(name)?;
    let contents = read_contents(&mut zip).with_context(name)?;
    Ok(Opened { zip, contents })
}

fn read_contents(zip: &mut ZipArchive<BufReader<File>>) -> anyhow::Result<Contents> {
    let mut text = Vec::new();
    let list = zip.by_name(MANIFEST).context("it is no backup: it has no list of its files")?;
    if list.take(MAX_MANIFEST_BYTES + 1).read_to_end(&mut text)? as u64 > MAX_MANIFEST_BYTES {
        bail!("its list of files is too long");
    }
    let contents = Contents::from_json(&text)?;
    let members = contents.by_path()?;
    if zip.len() != members.len() + 1 {
        bail!("it lists {} files and holds {}", members.len(), zip.len().saturating_sub(1));
    }
    for index in 0..zip.len() {
        let entry = zip.by_index_raw(index)?;
        if entry.name() != MANIFEST {
            check(&entry, members.get(entry.name()).copied())?;
        }
    }
    Ok(contents)
}

fn check<R: io::Read>(entry: &ZipFile<'_, R>, listed: Option<&Member>) -> anyhow::Result<()> {
    let Some(member) = listed else { bail!("it holds {:?}, which is not in its list", entry.name()) };
    if !entry.is_file() || entry.is_symlink() {
        bail!("{} is no plain file", member.path);
    }
    if entry.size() != member.bytes {
        bail!("{} has {} bytes, {} are listed", member.path, entry.size(), member.bytes);
    }
    Ok(())
}

impl Opened {
    /// Writes the files below `folder`, which must be empty, and compares each with its hash.
    ///
    /// # Errors
    /// When there is too little room, or a file is not what the list says.
    pub(crate) fn unpack(&mut self, folder: &Path) -> anyhow::Result<()> {
        let (needed, free) = (self.contents.bytes()?, free_bytes(folder)?);
        if needed > free {
            bail!("it needs {needed} bytes, and {} has {free} free", folder.display());
        }
        for member in &self.contents.files {
            let mut entry = self.zip.by_name(&member.path)?;
            extract(&mut entry, member, &folder.join(&member.path)).with_context(|| member.path.clone())?;
        }
        Ok(())
    }
}

fn extract(entry: &mut impl io::Read, member: &Member, to: &Path) -> anyhow::Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = File::create_new(to)?;
    let mut limited = entry.take(member.bytes + 1);
    let (mut digest, mut buffer, mut bytes) = (Sha256::new(), vec![0; 1 << 16], 0);
    loop {
        let read = limited.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        digest.update(&buffer[..read]);
        file.write_all(&buffer[..read])?;
        bytes += read as u64;
    }
    if bytes != member.bytes {
        bail!("it is not as long as listed");
    }
    let sha256: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if sha256 != member.sha256 {
        bail!("it is damaged: its checksum differs");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mentor_engines::StoreIdentity;
    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    const PATH: &str = "corpus.lance/data/a.lance";

    fn contents(files: Vec<Member>) -> Contents {
        let identity = StoreIdentity {
            embedder: "made-up".into(),
            dimension: 2,
            pooling: "mean".into(),
            max_tokens: 256,
            chunker_version: 1,
            tokenizer: None,
        };
        let mut contents = Contents::new(7, 1, 1, identity);
        contents.files = files;
        contents
    }

    fn member(path: &str, content: &str) -> Member {
        let sha256 = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
        Member { path: path.into(), bytes: content.len() as u64, sha256 }
    }

    type Zip = ZipWriter<File>;

    /// An archive of what `fill` puts into it, and a list of these files.
    fn archive(folder: &Path, listed: Vec<Member>, fill: impl FnOnce(&mut Zip)) -> std::path::PathBuf {
        let file = folder.join("backup.zip");
        let mut zip = ZipWriter::new(File::create(&file).unwrap());
        fill(&mut zip);
        add(&mut zip, MANIFEST, std::str::from_utf8(&contents(listed).to_json().unwrap()).unwrap());
        zip.finish().unwrap();
        file
    }

    fn add(zip: &mut Zip, name: &str, content: &str) {
        zip.start_file(name, SimpleFileOptions::default()).unwrap();
        zip.write_all(content.as_bytes()).unwrap();
    }

    fn restore(file: &Path, to: &Path) -> anyhow::Result<()> {
        open(file)?.unpack(to)
    }

    /// The archive is refused with that reason, and nothing is written outside of the folder for it.
    fn refused(listed: Vec<Member>, fill: impl FnOnce(&mut Zip), reason: &str) {
        let folder = tempfile::tempdir().unwrap();
        let file = archive(folder.path(), listed, fill);
        let to = folder.path().join("to");
        fs::create_dir(&to).unwrap();
        let error = format!("{:#}", restore(&file, &to).unwrap_err());
        assert!(error.contains(reason), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "something was written elsewhere");
    }

    #[test]
    fn what_was_packed_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let (source, file, to) = (folder.path().join("a"), folder.path().join("b.zip"), folder.path().join("to"));
        fs::write(&source, "rows").unwrap();
        fs::create_dir(&to).unwrap();
        let files = [(PATH.to_owned(), source)];
        super::super::pack(&file, contents(Vec::new()), &files).unwrap();
        let mut opened = open(&file).unwrap();
        assert_eq!((opened.contents.dataset_version, opened.contents.bytes().unwrap()), (7, 4));
        opened.unpack(&to).unwrap();
        assert_eq!(fs::read_to_string(to.join(PATH)).unwrap(), "rows");
        let again = super::super::pack(&file, contents(Vec::new()), &files).unwrap_err();
        assert!(again.to_string().contains("is there already"), "{again}");
    }

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        for path in ["../outside", "/tmp/outside", "corpus.lance/../../outside", "writer.lock"] {
            refused(vec![member(path, "x")], |zip| add(zip, path, "x"), "which is no file of a store");
        }
    }

    #[test]
    fn files_that_are_not_listed_and_listed_ones_that_are_missing_are_refused() {
        refused(vec![], |zip| add(zip, PATH, "x"), "it lists 0 files and holds 1");
        refused(vec![member(PATH, "x")], |_| {}, "it lists 1 files and holds 0");
        refused(vec![member(PATH, "x")], |zip| add(zip, "../outside", "x"), "which is not in its list");
        refused(vec![member(PATH, "x"), member(PATH, "x")], |zip| add(zip, PATH, "x"), "lists a file twice");
    }

    #[test]
    fn links_and_folders_are_refused() {
        let link = |zip: &mut Zip| {
            zip.add_symlink(PATH, "/etc/passwd", SimpleFileOptions::default()).unwrap();
        };
        refused(vec![member(PATH, "/etc/passwd")], link, "no plain file");
        let path = "corpus.lance/data/";
        refused(
            vec![Member { path: path.into(), ..member(path, "") }],
            |zip| zip.add_directory(path, SimpleFileOptions::default()).unwrap(),
            "which is no file of a store",
        );
    }

    #[test]
    fn a_bomb_unpacks_to_no_more_than_its_list_says_and_the_disk_has() {
        let zeros = "0".repeat(1 << 20);
        refused(vec![member(PATH, "0")], |zip| add(zip, PATH, &zeros), "1048576 bytes, 1 are listed");
        let huge = Member { bytes: u64::MAX / 2, ..member(PATH, "0") };
        refused(vec![huge], |zip| add(zip, PATH, "0"), "bytes, 9223372036854775807 are listed");
    }

    #[test]
    fn a_file_that_is_not_what_the_list_says_is_refused() {
        refused(vec![member(PATH, "good")], |zip| add(zip, PATH, "evil"), "its checksum differs");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("no.zip");
        fs::write(&file, "not a zip file").unwrap();
        assert!(open(&file).is_err());
    }
}
