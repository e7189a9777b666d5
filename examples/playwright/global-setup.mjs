// Before the run, and never during it: everybody who was here before is gone.
import { reset } from './stile.mjs';

export default reset;
