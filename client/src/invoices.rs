//! The verbs on invoices without bytes: get, list, check, void, watch.
//!
//! Promises: a check's answer names no invoice without the bytes asked about; a void is
//! believed by its receipt alone. Leaves the verbs with bytes to `upload` and `download`.

use crate::services::invoice_service;
use crate::verify::{self, ReceiptClaim, ReceiptProof};
use crate::{Client, ClientError, Watch};
use bytes::Bytes;
use futures::Stream;
use muniment_evidence::digest::Digest;
use muniment_evidence::ids::RecordIndex;
use muniment_proto::v1;

impl Client {
    /// One invoice, with the answering replica. Without a level: nothing is missed that
    /// this client has seen.
    ///
    /// ```no_run
    /// # use muniment_client::{Client, ClientError, v1};
    /// # async fn example(client: &Client) -> Result<(), ClientError> {
    /// let key = v1::InvoiceKey {
    ///     key: Some(v1::invoice_key::Key::Uid("0193e6a4-7c1d-7000-8000-000000000001".into())),
    /// };
    /// let (invoice, answered) = client.get(key, None).await?;
    /// println!("{:?} from {}", invoice.status(), answered.zone);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get(
        &self,
        key: v1::InvoiceKey,
        read: Option<v1::ReadLevel>,
    ) -> Result<(v1::Invoice, v1::Answered), ClientError> {
        let (key, read) = (Some(key), self.session.level(read));
        let request = v1::GetRequest { key, read };
        let reply = self
            .read(|channel| {
                let request = request.clone();
                async move { invoice_service(channel).get(request).await }
            })
            .await?;
        let invoice = reply
            .invoice
            .ok_or_else(|| ClientError::lacks("the invoice"))?;
        Ok((invoice, reply.answered.unwrap_or_default()))
    }

    /// One page; the next one has the answer's cursor.
    pub async fn list(
        &self,
        mut request: v1::ListRequest,
    ) -> Result<v1::ListResponse, ClientError> {
        request.read = self.session.level(request.read);
        self.read(|channel| {
            let request = request.clone();
            async move { invoice_service(channel).list(request).await }
        })
        .await
    }

    /// Every invoice with a rendition of these bytes, of all pages, as of the first one; none
    /// means: not issued here.
    ///
    /// ```no_run
    /// # use muniment_client::{BodySource, Client, ClientError};
    /// # async fn example(client: &Client) -> Result<(), ClientError> {
    /// let document = BodySource::File("received.pdf".into());
    /// let sha256 = document.measure().await?.sha256;
    /// let found = client.check("default", &sha256, None).await?;
    /// println!("issued here {} times", found.invoices.len());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn check(
        &self,
        tenant: &str,
        sha256: &Digest,
        read: Option<v1::ReadLevel>,
    ) -> Result<v1::CheckResponse, ClientError> {
        let mut header = v1::CheckHeader {
            tenant: tenant.to_owned(),
            sha256: Bytes::copy_from_slice(&sha256.0),
            read: self.session.level(read),
            ..Default::default()
        };
        let mut whole = self.check_page(&header, sha256).await?;
        while !whole.cursor.is_empty() {
            header.cursor = std::mem::take(&mut whole.cursor);
            let page = self.check_page(&header, sha256).await?;
            if page.invoices.is_empty() && !page.cursor.is_empty() {
                return Err(ClientError::unproven(
                    "a page of the answer has nothing on it",
                ));
            }
            whole.invoices.extend(page.invoices);
            whole.cursor = page.cursor;
        }
        Ok(whole)
    }

    async fn check_page(
        &self,
        header: &v1::CheckHeader,
        sha256: &Digest,
    ) -> Result<v1::CheckResponse, ClientError> {
        let reply = self
            .read(|channel| {
                let part = Some(v1::check_request::Part::Header(header.clone()));
                let parts = once(v1::CheckRequest { part });
                async move { invoice_service(channel).check(parts).await }
            })
            .await?;
        let honest = reply.invoices.iter().all(|invoice| {
            let mut renditions = invoice.renditions.iter();
            renditions.any(|rendition| rendition.sha256[..] == sha256.0)
        });
        if !honest {
            let why = "the answer names an invoice without a rendition of these bytes";
            return Err(ClientError::unproven(why));
        }
        Ok(reply)
    }

    /// Declares an unreversed invoice void.
    pub async fn void(
        &self,
        request: v1::VoidRequest,
    ) -> Result<(v1::VoidResponse, ReceiptProof), ClientError> {
        let mut reply = self
            .write(|channel| {
                let request = request.clone();
                async move { invoice_service(channel).void(request).await }
            })
            .await?;
        let invoice = reply.invoice.as_ref();
        let uid = &invoice
            .ok_or_else(|| ClientError::lacks("the invoice"))?
            .uid;
        let claim = ReceiptClaim::Voided { uid };
        let proof = verify::claim(reply.receipt.take(), self.trust(), claim)?;
        Ok((reply, proof))
    }

    /// Changes of a tenant's invoices from a record index on.
    ///
    /// ```no_run
    /// # use muniment_client::{Client, ClientError, RecordIndex};
    /// # async fn example(client: &Client) -> Result<(), ClientError> {
    /// let mut changes = client.watch("default", RecordIndex::FIRST);
    /// loop {
    ///     let change = changes.next().await?;
    ///     println!("record {}: {}", change.index, change.kind);
    /// }
    /// # }
    /// ```
    pub fn watch(&self, tenant: &str, from_index: RecordIndex) -> Watch<'_> {
        Watch::new(self, tenant, from_index.get())
    }
}

fn once<T: Send + 'static>(item: T) -> impl Stream<Item = T> + Send + 'static {
    futures::stream::iter([item])
}
