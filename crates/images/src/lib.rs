//! Images: from an archive, a layout or a registry to a directory, once for each digest.
//!
//! ```text
//! <state>/images/                 0700: nobody else reaches a file in it by its path
//!     <hex>/root/                 the root file system of the image with this digest
//!     <hex>/image.json            its environment, user, size and origin
//!     locks/<hex>                 shared by the users of an image, held alone to make or remove
//!                                 it; its time is that of the last use
//!     unpacking/<hex>/            an image that is being unpacked
//!     known/<key>                 the digest of a file, by its form, inode, size and time
//!     aliases/<hex>               the manifest for this machine of an index
//!     kept/<name>                 images that stay until their next user has locks of its own
//! ```
//!
//! `source` reads images, `unpack` writes trees, and [`Images`] keeps them. Images are not
//! trusted: sizes and numbers are bounded, and no entry of an archive names a place outside of its
//! tree. Knows nothing of runs and units.

mod archive;
mod cache;
mod compression;
mod error;
mod hash;
mod lock;
mod source;
mod stop;
mod unpack;

pub use cache::{Image, Images, Kept, Obtained, Progress, Removal};
pub use error::ImageError;
pub use lock::Hold;
pub use source::{Login, Root, root_of};
pub use stop::Stop;
pub use unpack::Limits;

use nixactions_core::image;
