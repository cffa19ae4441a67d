//! What people do with the shop, and what happens to it meanwhile.

mod orders;
