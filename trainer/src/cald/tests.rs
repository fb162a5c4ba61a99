mod early;
mod resume;
mod world;
