probe_monitoring() { :; }
