mod early;
mod resume;
mod speech;
mod world;
