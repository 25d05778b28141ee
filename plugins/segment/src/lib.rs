//! Segmentation by the 2.5D GoogLeNet.
