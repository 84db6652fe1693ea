//! A journal's directory as the [`Store`] that recovery and retention run on.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::disk::files::{Files, index_name, segment_name, segment_number};
use crate::disk::prepare;
use crate::disk::store::Store;
use crate::format::{SECTOR_BYTES, SegmentHeader, seal_offset};

impl Store for Files {
    fn segments(&self) -> io::Result<Vec<u64>> {
        let mut numbers: Vec<u64> = self.names()?.iter().filter_map(|name| segment_number(name)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn length(&self, segment: u64) -> io::Result<u64> {
        Ok(self.reading(segment)?.metadata()?.len())
    }

    fn read_at(&self, segment: u64, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let file = self.reading(segment)?;
        let mut read = 0;
        while read < bytes.len() {
            match file.read_at(&mut bytes[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn write_at(&self, segment: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let whole = |bytes: u64| bytes.is_multiple_of(SECTOR_BYTES as u64);
        if !whole(offset) || !whole(bytes.len() as u64) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{} B at {offset} are not whole sectors of {SECTOR_BYTES} B", bytes.len()),
            ));
        }
        self.open_for_writing(segment, false)?.write_all_at(bytes, offset)
    }

    fn sync(&self, segment: u64) -> io::Result<()> {
        self.open_for_writing(segment, false)?.sync_all()
    }

    fn create(&self, header: &SegmentHeader, channel_page: &[u8]) -> io::Result<()> {
        prepare::make_now(self, header, channel_page)
    }

    fn create_sealed(&self, header: &SegmentHeader, channel_page: &[u8], seal: &[u8]) -> io::Result<()> {
        let (spare, file) = self.new_spare(header.number, false)?;
        let seal_at = seal_offset(header.segment_bytes);
        let made = file
            .set_len(header.segment_bytes)
            .and_then(|()| file.write_all_at(&header.encode()[..], 0))
            .and_then(|()| file.write_all_at(channel_page, SECTOR_BYTES as u64))
            .and_then(|()| file.write_all_at(seal, seal_at))
            .and_then(|()| file.sync_all())
            .and_then(|()| self.adopt_spare(&spare, header.number));
        made.inspect_err(|_| {
            // If it cannot be removed now, the next writer removes it.
            let _ = self.remove_spare(&spare);
        })
    }

    fn remove(&self, segment: u64) -> io::Result<()> {
        self.forget(segment);
        unlinkat(&self.directory, segment_name(segment).as_str(), UnlinkatFlags::NoRemoveDir)?;
        self.unlink_if_there(&index_name(segment))?;
        self.sync_directory()
    }

    fn keep_aside(&self, segment: u64, offset: u64, bytes: u64) -> io::Result<()> {
        let quarantine = self.open_quarantine()?;
        let name = format!("{}.at-{offset}", segment_name(segment));
        let mut target = name.clone();
        let mut attempt = 0;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let file = loop {
            // A file of that name may be there from an earlier repair. It is kept.
            match openat(&quarantine, target.as_str(), flags, Mode::from_bits_truncate(0o640)) {
                Ok(file) => break File::from(file),
                Err(Errno::EEXIST) if attempt < 1000 => {
                    attempt += 1;
                    target = format!("{name}.{attempt}");
                }
                Err(error) => return Err(error.into()),
            }
        };
        let mut buffer = vec![0; (1 << 20).min(bytes as usize)];
        let mut done = 0;
        while done < bytes {
            let most = buffer.len().min((bytes - done) as usize);
            let read = self.read_at(segment, offset + done, &mut buffer[..most])?;
            if read == 0 {
                break; // the file is shorter: what is not there cannot be kept
            }
            file.write_all_at(&buffer[..read], done)?;
            done += read as u64;
        }
        file.sync_all()?;
        quarantine.sync_all()
    }

    fn quarantine(&self, segment: u64) -> io::Result<()> {
        let quarantine = self.open_quarantine()?;
        let name = segment_name(segment);
        // A segment of that number may be there from an earlier repair. It is kept.
        let mut target = name.clone();
        let mut attempt = 0;
        loop {
            let flags = nix::fcntl::RenameFlags::RENAME_NOREPLACE;
            match nix::fcntl::renameat2(&self.directory, name.as_str(), &quarantine, target.as_str(), flags) {
                Ok(()) => break,
                Err(Errno::EEXIST) if attempt < 1000 => {
                    attempt += 1;
                    target = format!("{name}.{attempt}");
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.forget(segment);
        self.unlink_if_there(&index_name(segment))?;
        quarantine.sync_all()?;
        self.sync_directory()
    }
}
