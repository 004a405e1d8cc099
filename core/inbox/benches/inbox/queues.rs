//! The queues, all behind one trait: a writer that can be cloned, a reader that need not.

use std::future::Future;
use std::sync::Arc;

use futures::{FutureExt, SinkExt, StreamExt};
use rouse_inbox::inbox::{Full, Inbox};

/// An item: 64 bytes, the size of a small message, with a time stamp or a number in the first eight.
pub(crate) type Item = [u64; 8];

/// The capacity of a queue, in items.
pub(crate) const CAPACITY: usize = 1024;

/// The number of items in a burst.
pub(crate) const BURST: usize = 32;

pub(crate) trait Queue: 'static {
    const NAME: &'static str;
    type Writer: Clone + Send + 'static;
    type Reader: Send + 'static;

    fn make() -> (Self::Writer, Self::Reader);
    fn write(writer: &mut Self::Writer, item: Item) -> impl Future<Output = ()> + Send;
    fn try_write(writer: &mut Self::Writer, item: Item) -> bool;
    fn read(reader: &mut Self::Reader) -> impl Future<Output = Item> + Send;
    fn try_read(reader: &mut Self::Reader) -> Option<Item>;

    /// Writes a burst and empties `burst`: one by one, unless the queue has something better.
    fn write_burst(writer: &mut Self::Writer, burst: &mut Vec<Item>) -> impl Future<Output = ()> + Send {
        async move {
            for item in burst.drain(..) {
                Self::write(writer, item).await;
            }
        }
    }

    /// Waits for an item and takes what else is there, up to a burst, unless the queue has something better.
    fn read_burst(reader: &mut Self::Reader, burst: &mut Vec<Item>) -> impl Future<Output = ()> + Send {
        async move {
            burst.push(Self::read(reader).await);
            while burst.len() < BURST {
                let Some(item) = Self::try_read(reader) else { return };
                burst.push(item);
            }
        }
    }
}

pub(crate) struct Rouse;

impl Queue for Rouse {
    const NAME: &'static str = "inbox";
    type Writer = Arc<Inbox<Item>>;
    type Reader = Arc<Inbox<Item>>;

    fn make() -> (Self::Writer, Self::Reader) {
        let inbox = Arc::new(Inbox::new(CAPACITY, Full::Wait));
        (inbox.clone(), inbox)
    }

    async fn write(writer: &mut Self::Writer, item: Item) {
        writer.push(item).await.unwrap();
    }

    fn try_write(writer: &mut Self::Writer, item: Item) -> bool {
        writer.try_push(item).is_ok()
    }

    async fn read(reader: &mut Self::Reader) -> Item {
        reader.recv().await.unwrap()
    }

    fn try_read(reader: &mut Self::Reader) -> Option<Item> {
        reader.try_recv().ok()
    }

    async fn write_burst(writer: &mut Self::Writer, burst: &mut Vec<Item>) {
        writer.push_batch(burst).await.unwrap();
    }

    async fn read_burst(reader: &mut Self::Reader, burst: &mut Vec<Item>) {
        reader.recv_batch_into(burst, BURST).await.unwrap();
    }
}

pub(crate) struct AsyncChannel;

impl Queue for AsyncChannel {
    const NAME: &'static str = "async-channel";
    type Writer = async_channel::Sender<Item>;
    type Reader = async_channel::Receiver<Item>;

    fn make() -> (Self::Writer, Self::Reader) {
        async_channel::bounded(CAPACITY)
    }

    async fn write(writer: &mut Self::Writer, item: Item) {
        writer.send(item).await.unwrap();
    }

    fn try_write(writer: &mut Self::Writer, item: Item) -> bool {
        writer.try_send(item).is_ok()
    }

    async fn read(reader: &mut Self::Reader) -> Item {
        reader.recv().await.unwrap()
    }

    fn try_read(reader: &mut Self::Reader) -> Option<Item> {
        reader.try_recv().ok()
    }
}

pub(crate) struct Flume;

impl Queue for Flume {
    const NAME: &'static str = "flume";
    type Writer = flume::Sender<Item>;
    type Reader = flume::Receiver<Item>;

    fn make() -> (Self::Writer, Self::Reader) {
        flume::bounded(CAPACITY)
    }

    async fn write(writer: &mut Self::Writer, item: Item) {
        writer.send_async(item).await.unwrap();
    }

    fn try_write(writer: &mut Self::Writer, item: Item) -> bool {
        writer.try_send(item).is_ok()
    }

    async fn read(reader: &mut Self::Reader) -> Item {
        reader.recv_async().await.unwrap()
    }

    fn try_read(reader: &mut Self::Reader) -> Option<Item> {
        reader.try_recv().ok()
    }
}

pub(crate) struct Kanal;

impl Queue for Kanal {
    const NAME: &'static str = "kanal";
    type Writer = kanal::AsyncSender<Item>;
    type Reader = kanal::AsyncReceiver<Item>;

    fn make() -> (Self::Writer, Self::Reader) {
        kanal::bounded_async(CAPACITY)
    }

    async fn write(writer: &mut Self::Writer, item: Item) {
        writer.send(item).await.unwrap();
    }

    fn try_write(writer: &mut Self::Writer, item: Item) -> bool {
        writer.try_send(item).unwrap()
    }

    async fn read(reader: &mut Self::Reader) -> Item {
        reader.recv().await.unwrap()
    }

    fn try_read(reader: &mut Self::Reader) -> Option<Item> {
        reader.try_recv().unwrap()
    }
}

pub(crate) struct Thingbuf;

impl Queue for Thingbuf {
    const NAME: &'static str = "thingbuf";
    type Writer = thingbuf::mpsc::Sender<Item>;
    type Reader = thingbuf::mpsc::Receiver<Item>;

    fn make() -> (Self::Writer, Self::Reader) {
        thingbuf::mpsc::channel(CAPACITY)
    }

    async fn write(writer: &mut Self::Writer, item: Item) {
        writer.send(item).await.unwrap();
    }

    fn try_write(writer: &mut Self::Writer, item: Item) -> bool {
        writer.try_send(item).is_ok()
    }

    async fn read(reader: &mut Self::Reader) -> Item {
        reader.recv().await.unwrap()
    }

    fn try_read(reader: &mut Self::Reader) -> Option<Item> {
        reader.try_recv().ok()
    }
}

pub(crate) struct Crossfire;

impl Queue for Crossfire {
    const NAME: &'static str = "crossfire";
    type Writer = crossfire::MAsyncTx<crossfire::mpsc::Array<Item>>;
    type Reader = crossfire::AsyncRx<crossfire::mpsc::Array<Item>>;

    fn make() -> (Self::Writer, Self::Reader) {
        crossfire::mpsc::bounded_async(CAPACITY)
    }

    async fn write(writer: &mut Self::Writer, item: Item) {
        writer.send(item).await.unwrap();
    }

    fn try_write(writer: &mut Self::Writer, item: Item) -> bool {
        writer.try_send(item).is_ok()
    }

    // Its reader may not be shared across threads, so its own future is returned instead of being awaited here.
    fn read(reader: &mut Self::Reader) -> impl Future<Output = Item> + Send {
        reader.recv().map(Result::unwrap)
    }

    fn try_read(reader: &mut Self::Reader) -> Option<Item> {
        reader.try_recv().ok()
    }
}

pub(crate) struct Futures;

impl Queue for Futures {
    const NAME: &'static str = "futures mpsc";
    type Writer = futures::channel::mpsc::Sender<Item>;
    type Reader = futures::channel::mpsc::Receiver<Item>;

    fn make() -> (Self::Writer, Self::Reader) {
        futures::channel::mpsc::channel(CAPACITY)
    }

    async fn write(writer: &mut Self::Writer, item: Item) {
        writer.send(item).await.unwrap();
    }

    fn try_write(writer: &mut Self::Writer, item: Item) -> bool {
        writer.try_send(item).is_ok()
    }

    async fn read(reader: &mut Self::Reader) -> Item {
        reader.next().await.unwrap()
    }

    fn try_read(reader: &mut Self::Reader) -> Option<Item> {
        reader.try_recv().ok()
    }
}
