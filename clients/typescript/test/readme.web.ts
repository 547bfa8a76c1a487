// The snippet of README.md for browsers, compiled so that it stays true.
import { connect } from "@pgfox/client/web";

const pgfox = connect({ endpoint: "https://pgfox.example.com" });

export default pgfox;
