//! Gives back the disk space that a journal reserves: journald allocates 8 MiB even for the
//! shortest run.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
    path::Path,
};

use nix::fcntl::{FallocateFlags, fallocate};

/// The largest file that is made sparse, in bytes. A larger one is full of messages.
const MAX_FILE: u64 = 16 << 20;
/// The size of a block, in bytes: a page, and a block of most file systems.
const BLOCK: usize = 4096;

/// Turns the empty blocks of the journal files below a directory into holes, which read the same.
/// No process may be writing to the files.
pub(super) fn make_sparse(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            make_sparse(&entry.path())?;
        } else if kind.is_file() && entry.metadata()?.len() <= MAX_FILE {
            make_file_sparse(
                &mut OpenOptions::new()
                    .read(true)
                    .write(true)
                    .open(entry.path())?,
            )?;
        }
    }
    Ok(())
}

fn make_file_sparse(file: &mut File) -> io::Result<()> {
    let mut content = Vec::new();
    file.read_to_end(&mut content)?;
    let mut offset = 0;
    for run in content
        .chunks(BLOCK)
        .map(|block| *block == [0; BLOCK][..block.len()])
        .collect::<Vec<_>>()
        .chunk_by(|a, b| a == b)
    {
        let length = run.len() * BLOCK;
        if run[0] {
            let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
            fallocate(
                &*file,
                flags,
                offset,
                i64::try_from(length).map_err(io::Error::other)?,
            )?;
        }
        offset += i64::try_from(length).map_err(io::Error::other)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn trimming_frees_empty_blocks_and_keeps_the_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let mut content = vec![0; 40 * BLOCK + 5];
        content[3 * BLOCK] = 1;
        content[20 * BLOCK..21 * BLOCK].fill(2);
        fs::write(&path, &content).unwrap();
        let before = fs::metadata(&path).unwrap();
        make_sparse(dir.path()).unwrap();
        let after = fs::metadata(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), content);
        assert!(
            after.blocks() < before.blocks() / 4,
            "{} of {}",
            after.blocks(),
            before.blocks()
        );
    }
}
