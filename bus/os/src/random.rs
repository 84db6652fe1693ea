//! Random identities, from the kernel.

use std::io;

/// Returns 16 random bytes. It blocks only before the kernel's generator is seeded, early in boot.
pub fn random_id() -> io::Result<[u8; 16]> {
    let mut id = [0u8; 16];
    let mut filled = 0;
    while filled < id.len() {
        let rest = &mut id[filled..];
        // SAFETY: the buffer is owned by this function and has the length that is passed.
        let got = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        match usize::try_from(got) {
            Ok(got) => filled += got,
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
    Ok(id)
}

/// The bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_differ() -> io::Result<()> {
        let (one, other) = (random_id()?, random_id()?);
        assert_ne!(one, other);
        assert_eq!(hex(&[0, 1, 0xab]), "0001ab");
        Ok(())
    }
}
