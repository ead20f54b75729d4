probe_alone() { :; }
