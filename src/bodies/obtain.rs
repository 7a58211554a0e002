//! A body that is missing here, brought from another holder and sealed.
//!
//! Promises: each chunk is compared with its digest and all of them with the digest that
//! the record names, before the body counts as held; what fails leaves nothing. Asks one
//! holder after the other, the nearest first. Leaves when to ask to [`super::complete`].

use super::fetch::Source;
use super::writer::BodyWriter;
use super::{Bodies, Error};
use muniment_evidence::opening::Rendition;

impl Bodies {
    /// Makes the body durable here, from whoever holds it.
    pub(super) async fn obtain(&self, rendition: &Rendition) -> Result<(), Error> {
        let Some(_arrival) = self.arriving.enter(rendition.body_id) else {
            return Err(Error::Unavailable("it is arriving already".into()));
        };
        if !self.has_room() {
            return Err(Error::Unavailable("this node's disk is nearly full".into()));
        }
        let mut why = String::from("no other member is known");
        for (node, peer) in self.others() {
            let copied = match self.source_at(node, peer, rendition).await {
                Ok(source) => self.copy(&source, rendition).await,
                Err(error) => Err(error),
            };
            match copied {
                Ok(()) => return Ok(()),
                Err(Error::Unavailable(from)) => why = format!("node {node}: {from}"),
                Err(error) => return Err(error),
            }
        }
        Err(Error::Unavailable(why))
    }

    async fn copy(&self, source: &Source, rendition: &Rendition) -> Result<(), Error> {
        let id = rendition.body_id;
        let mut writer = BodyWriter::new(self.store.clone(), self.blocking, id);
        let written = async {
            for (number, (_, digest)) in source.chunks.iter().enumerate() {
                let chunk = self.fetch(source, number as u32, *digest).await?;
                writer.push(&chunk).await?;
            }
            Ok(writer.digest().await?)
        };
        match written.await {
            Ok(digest) if digest == rendition.sha256 && writer.length() == rendition.length => {
                let epoch = self.group.applied().upload_epoch;
                writer.seal(epoch).await?;
                Ok(())
            }
            Ok(_) => {
                writer.abandon().await?;
                Err(Error::Unavailable("it holds other bytes".into()))
            }
            Err(error) => {
                writer.abandon().await?;
                Err(error)
            }
        }
    }
}
