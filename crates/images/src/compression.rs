//! Readers of compressed archives. The first bytes tell the compression, whatever the name says.

use std::io::{self, BufRead, BufReader, Read};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;

/// The size of the buffer before a decompressor, in bytes.
const BUFFER: usize = 256 << 10;
/// The most memory of a decompressor of xz, in KiB. The strongest level of xz needs 65 MiB.
const XZ_MEMORY: u32 = 256 << 10;

/// Returns a reader of the plain bytes of a stream, which may be compressed by gzip, zstd, xz or
/// bzip2.
pub(crate) fn plain<'a>(reader: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut reader = BufReader::with_capacity(BUFFER, reader);
    let start = peek(&mut reader)?;
    Ok(match start {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(reader)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            Box::new(Frames::new(reader))
        }
        [0xfd, b'7', b'z', b'X', b'Z', 0] => {
            Box::new(XzReader::new_mem_limit(reader, true, XZ_MEMORY))
        }
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Box::new(MultiBzDecoder::new(reader)),
        _ => Box::new(reader),
    })
}

/// Returns the first six bytes, or zeros where the stream ends.
fn peek<R: Read>(reader: &mut BufReader<R>) -> io::Result<[u8; 6]> {
    let mut start = [0; 6];
    let bytes = reader.fill_buf()?;
    let count = bytes.len().min(start.len());
    start[..count].copy_from_slice(&bytes[..count]);
    Ok(start)
}

/// The plain bytes of frames of zstd, one after the other. A decoder reads one frame.
struct Frames<R: BufRead> {
    decoder: ruzstd::decoding::FrameDecoder,
    reader: R,
    is_open: bool,
}

impl<R: BufRead> Frames<R> {
    fn new(reader: R) -> Self {
        Self {
            decoder: ruzstd::decoding::FrameDecoder::new(),
            reader,
            is_open: false,
        }
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        use ruzstd::decoding::{BlockDecodingStrategy, errors};
        loop {
            if self.is_open {
                while !self.decoder.is_finished() && self.decoder.can_collect() < buffer.len() {
                    let strategy = BlockDecodingStrategy::UptoBytes(buffer.len());
                    self.decoder
                        .decode_blocks(&mut self.reader, strategy)
                        .map_err(io::Error::other)?;
                }
                let count = self.decoder.read(buffer)?;
                if count > 0 || buffer.is_empty() {
                    return Ok(count);
                }
                self.is_open = false;
            }
            if self.reader.fill_buf()?.is_empty() {
                return Ok(0);
            }
            match self.decoder.reset(&mut self.reader) {
                Ok(()) => self.is_open = true,
                Err(errors::FrameDecoderError::ReadFrameHeaderError(
                    errors::ReadFrameHeaderError::SkipFrame { length, .. },
                )) => {
                    let mut frame = (&mut self.reader).take(u64::from(length));
                    io::copy(&mut frame, &mut io::sink())?;
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
    }
}
