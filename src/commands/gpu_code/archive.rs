//! Members of a static archive (`ar`; System V ABI, "Archive File").

/// The first bytes of an archive.
pub(super) const MAGIC: &[u8] = b"!<arch>\n";

/// Those of one that only names its members.
pub(super) const THIN_MAGIC: &[u8] = b"!<thin>\n";

/// The members of an archive in their order, symbol tables among them; then, where it is damaged, why.
pub(super) fn members(archive: &[u8]) -> impl Iterator<Item = Result<&[u8], &'static str>> {
    let mut rest = archive.get(MAGIC.len()..).unwrap_or_default();
    std::iter::from_fn(move || {
        // A lone line end pads the last member.
        if rest.is_empty() || rest == b"\n" {
            return None;
        }
        let (member, behind) = match first(rest) {
            Ok(split) => split,
            Err(why) => {
                rest = &[];
                return Some(Err(why));
            }
        };
        rest = behind;
        Some(Ok(member))
    })
}

/// The first member, and what is behind it.
fn first(bytes: &[u8]) -> Result<(&[u8], &[u8]), &'static str> {
    const HEADER: usize = 60;
    let (header, rest) = bytes.split_at_checked(HEADER).ok_or("the archive ends within a member's header")?;
    let size =
        header.get(48..58).filter(|_| header.ends_with(b"`\n")).ok_or("a member of the archive has no header")?;
    let size = std::str::from_utf8(size).ok().and_then(|size| size.trim_ascii().parse::<usize>().ok());
    let size = size.ok_or("a member of the archive has no size")?;
    let (member, rest) = rest.split_at_checked(size).ok_or("a member ends behind the archive")?;
    // Members start at even places. BSD's form has a long name in front of the contents, and its length in the header.
    let name_len = header.strip_prefix(b"#1/").and_then(|name| name.get(..13));
    let name_len = name_len.and_then(|len| std::str::from_utf8(len).ok()?.trim_ascii().parse::<usize>().ok());
    let member = name_len.and_then(|len| member.get(len..)).unwrap_or(member);
    let rest = if size % 2 == 1 { rest.get(1..).unwrap_or_default() } else { rest };
    Ok((member, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, contents: &[u8]) -> Vec<u8> {
        let mut bytes = format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 644, contents.len()).into_bytes();
        bytes.extend(contents);
        if contents.len() % 2 == 1 {
            bytes.push(b'\n');
        }
        bytes
    }

    #[test]
    fn members_of_gnu_and_bsd_archives_are_found() {
        let archive = [MAGIC, &member("/", b"odd"), &member("#1/6", b"long.oELF"), &member("b.o/", b"")].concat();
        let found: Vec<_> = members(&archive).collect();
        assert_eq!(found, [Ok(&b"odd"[..]), Ok(b"ELF"), Ok(b"")]);
    }

    #[test]
    fn a_damaged_archive_says_so_and_ends() {
        let whole = [MAGIC, &member("a.o/", b"contents")].concat();
        for end in MAGIC.len() + 2..whole.len() {
            let found: Vec<_> = members(&whole[..end]).collect();
            assert!(matches!(found[..], [Err(_)]), "{end}: {found:?}");
        }
        let mut broken = whole;
        broken[MAGIC.len() + 48..MAGIC.len() + 58].copy_from_slice(b"9999999999");
        assert!(matches!(members(&broken).collect::<Vec<_>>()[..], [Err(_)]));
    }
}
