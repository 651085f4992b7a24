//! The chunked transfer coding as it is written (RFC 9112 §7.1).

/// Appends the first line of a chunk of `length` bytes.
pub(crate) fn write_size(out: &mut Vec<u8>, length: usize) {
    let mut digits = [0; 16];
    let mut left = length;
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        *digit = HEX.get(left & 0xf).copied().unwrap_or_default();
        left >>= 4;
        used += 1;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(16 - used..).unwrap_or_default());
    out.extend_from_slice(b"\r\n");
}

const HEX: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    #[test]
    fn a_size_is_written_in_hexadecimal_without_leading_zeros() {
        for (length, line) in [(0, "0\r\n"), (10, "a\r\n"), (0x1234_5678, "12345678\r\n")] {
            let mut out = Vec::new();
            super::write_size(&mut out, length);
            assert_eq!(out, line.as_bytes());
        }
    }
}
